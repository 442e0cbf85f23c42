//! Gathers what was set, by flag, variable and file, and remembers which of them won.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::table::{SETTINGS, setting};
use super::{ConfigError, Setting};

/// Names the TOML file where no flag does.
const FILE_VARIABLE: &str = "VEZA_CONFIG";
/// What the tests and the demo go by, which are no settings of the platform.
const NOT_SETTINGS: &[&str] = &[FILE_VARIABLE, "VEZA_URL", "VEZA_QUERY_URL"];
const TEST_PREFIX: &str = "VEZA_TEST_";

/// The heading, in the help of a command, of the flags that say which platform is meant.
pub const PLATFORM: &str = "Which platform";

/// What the command line sets.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// The data folder (VEZA_DATA; by default ./veza-data)
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// A TOML file with settings (VEZA_CONFIG; `veza config` lists them)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What this process does: all, command-api, query-api, projector, saga or event-store; may be
    /// given more than once (VEZA_ROLES; by default all)
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
}

/// What the command line sets of a command that has no role.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PlaceFlags {
    /// The data folder (VEZA_DATA; by default ./veza-data)
    #[arg(long, value_name = "DIR", global = true, help_heading = PLATFORM)]
    data: Option<String>,
    /// A TOML file with settings (VEZA_CONFIG; `veza config` lists them)
    #[arg(long, value_name = "FILE", global = true, help_heading = PLATFORM)]
    config: Option<PathBuf>,
}

impl PlaceFlags {
    /// The same as a process's flags. It is not one of the platform's processes, whose roles the
    /// variables may name: so no setting that a role needs is missing.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let (data, config) = (self.data.clone(), self.config.clone());
        Flags { data, config, roles: vec!["all".to_owned()] }
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A key in a file.
    File(PathBuf, &'static str),
    /// A variable.
    Variable(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::File(file, key) => write!(f, "{key} in {}", file.display()),
            Origin::Variable(name) => write!(f, "{name}"),
            Origin::Flag(name) => write!(f, "{name}"),
        }
    }
}

/// What each setting has, as text, and from where.
#[derive(Debug)]
pub struct Layers {
    given: BTreeMap<&'static str, (String, Origin)>,
    /// Variables that look like settings and are none, most likely by a slip of the pen.
    pub unknown_variables: Vec<String>,
}

impl Layers {
    /// Gathers them from flags, from `variables` (the environment's), and from the TOML file that
    /// one of them names.
    ///
    /// # Errors
    /// A file that cannot be read or has keys that are no settings; a variable that is not text.
    pub fn gather(
        flags: &Flags,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Layers, ConfigError> {
        let variables = ours(variables)?;
        let mut layers = Layers { given: BTreeMap::new(), unknown_variables: Vec::new() };
        let file = flags.config.clone().or(variables.get(FILE_VARIABLE).map(PathBuf::from));
        if let Some(file) = file {
            layers.read_file(&file)?;
        }
        for (name, value) in variables {
            match SETTINGS.iter().find(|setting| setting.variable() == name) {
                Some(setting) => layers.set(setting, value, Origin::Variable(name)),
                None if NOT_SETTINGS.contains(&name.as_str()) => {}
                None => layers.unknown_variables.push(name),
            }
        }
        if let Some(data) = &flags.data {
            layers.set(setting("data"), data.clone(), Origin::Flag("--data"));
        }
        if !flags.roles.is_empty() {
            layers.set(setting("roles"), flags.roles.join(","), Origin::Flag("--role"));
        }
        Ok(layers)
    }

    fn set(&mut self, setting: &'static Setting, value: String, origin: Origin) {
        self.given.insert(setting.key, (value, origin));
    }

    fn read_file(&mut self, file: &Path) -> Result<(), ConfigError> {
        let text = fs::read_to_string(file)
            .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().map_or("", |span| &text[..span.start]);
            let line = before.matches('\n').count() + 1;
            let why = error.message().lines().next().unwrap_or("not TOML").to_owned();
            ConfigError::NotToml { file: file.to_owned(), line, why }
        })?;
        for (key, value) in table {
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
                return Err(ConfigError::Unknown { file: file.to_owned(), key });
            };
            let origin = Origin::File(file.to_owned(), setting.key);
            match as_text(&value) {
                Some(text) => self.set(setting, text, origin),
                None => {
                    let why = "must be a text, a number, true, false, or a list of texts".into();
                    return Err(ConfigError::Bad { origin, why });
                }
            }
        }
        Ok(())
    }

    /// A line for each variable that looks like a setting and is none. That is no error: programs
    /// beside the platform may have variables of such names.
    pub fn ignored(&self) -> impl Iterator<Item = String> {
        let names = self.unknown_variables.iter();
        names.map(|name| format!("{name} is ignored: it is no setting (`veza config` lists all)"))
    }

    /// What the setting has, and from where; none when it is unset and has no default.
    #[must_use]
    pub fn get(&self, key: &'static str) -> Option<(&str, Origin)> {
        // What the file sets to nothing is not set either.
        let given = self.given.get(key).filter(|(value, _)| !value.is_empty());
        let default = || setting(key).default.map(|value| (value, Origin::Default));
        given.map(|(value, origin)| (value.as_str(), origin.clone())).or_else(default)
    }

    /// Whether anybody set it.
    #[must_use]
    pub fn is_set(&self, key: &'static str) -> bool {
        self.get(key).is_some_and(|(_, origin)| origin != Origin::Default)
    }

    /// The setting's value by `read`; none when it is unset.
    pub(super) fn wanted<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((value, origin)) = self.get(key) else {
            return Ok(None);
        };
        read(value).map(Some).map_err(|why| ConfigError::Bad { origin, why })
    }

    /// The value, by `read`, of a setting that has a default.
    pub(super) fn needed<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        Ok(self.wanted(key, read)?.expect("the table gives this setting a default"))
    }
}

/// The variables that are ours, without those of the tests. One that is set to nothing is not set,
/// and what the file says holds: compose files and charts pass on what nobody gave as nothing.
fn ours(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut ours = BTreeMap::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else {
            continue;
        };
        if !name.starts_with("VEZA_") || name.starts_with(TEST_PREFIX) || value.is_empty() {
            continue;
        }
        let value = value.into_string().map_err(|_| ConfigError::Bad {
            origin: Origin::Variable(name.clone()),
            why: "must be UTF-8".into(),
        })?;
        ours.insert(name, value);
    }
    Ok(ours)
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(yes) => Some(if *yes { "on" } else { "off" }.to_owned()),
        Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            Some(texts?.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(toml: &str, variables: &[(&str, &str)], flags: Flags) -> Result<Layers, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("veza.toml");
        fs::write(&file, toml).unwrap();
        let flags = Flags { config: Some(file), ..flags };
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Layers::gather(&flags, variables)
    }

    #[test]
    fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
        let toml = "data = 'file'\nhttp = 'file'\nlog = 'file'\nrate_limits = false\n";
        let variables = [("VEZA_DATA", "variable"), ("VEZA_HTTP", "variable"), ("VEZA_LOG", "")];
        let flags = Flags { data: Some("flag".into()), ..Flags::default() };
        let layers = gather(toml, &variables, flags).unwrap();
        assert_eq!(layers.get("data").unwrap(), ("flag", Origin::Flag("--data")));
        let variable = Origin::Variable("VEZA_HTTP".into());
        assert_eq!(layers.get("http").unwrap(), ("variable", variable));
        assert_eq!(layers.get("log").unwrap().0, "file", "nothing is no value");
        assert_eq!(layers.get("rate_limits").unwrap().0, "off");
        assert_eq!(layers.get("log_format").unwrap(), ("human", Origin::Default));
        assert!(layers.get("database_url").is_none() && !layers.is_set("log_format"));
    }

    #[test]
    fn a_slip_of_the_pen_is_told() {
        let variables =
            [("VEZA_HTPT", "x"), ("VEZA_TEST_X", "x"), ("VEZA_URL", "x"), ("OTHER", "")];
        let layers = gather("", &variables, Flags::default()).unwrap();
        assert_eq!(layers.unknown_variables, ["VEZA_HTPT"]);
        for (toml, expected) in [
            ("\nhtpt = 1", "there is no setting `htpt`"),
            ("log = 'a'\nhttp = ", "veza.toml line 2: "),
            ("[http]", "http in "),
        ] {
            let said = gather(toml, &[], Flags::default()).unwrap_err().to_string();
            assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
        }
    }
}
