//! The rules over one file each, and for each rule a file that breaks it.

use crate::code;

const COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// The tests that sleep without polling, how often, and what for: nothing is waited for there.
const SLEEPS_ALLOWED: &[(&str, usize, &str)] = &[
    ("sagas/src/orchestrator/checkpoint/tests.rs", 1, "so long nothing is saved"),
    ("sagas/src/orchestrator/tests/many.rs", 2, "so long nothing is read; a clock that is nervous"),
    ("veza/tests/end_to_end/crashes.rs", 3, "a kill at a random moment"),
];

/// A file's complaints against one rule.
pub type Rule = fn(&Source) -> Vec<String>;

/// One file of the project.
pub struct Source {
    path: String,
    text: String,
    /// The text with comments and literals blanked; the text itself where it is not Rust.
    code: String,
    /// The line, from 0, at which the tests at the file's end begin; 0 in a file of tests.
    tests_from: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let code = if path.ends_with(".rs") { code::blanked(text) } else { text.to_owned() };
        let is_test = ["/tests/", "/benches/", "/tests.rs", "_tests.rs"]
            .iter()
            .any(|part| path.contains(part));
        let lines: Vec<&str> = code.lines().collect();
        let tests_from = match modules_of_tests(&lines).find(|(_, module)| module.contains('{')) {
            _ if is_test => 0,
            Some((line, _)) => line,
            None => lines.len(),
        };
        Source { path: path.to_owned(), text: text.to_owned(), code, tests_from }
    }

    /// The paths, without their endings, of the modules that this file has for its tests alone.
    pub fn modules_of_tests(&self) -> Vec<String> {
        let lines: Vec<&str> = self.code.lines().collect();
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "lib.rs" | "main.rs")) => folder,
            _ => stem(&self.path),
        };
        modules_of_tests(&lines)
            .filter_map(|(_, module)| module.strip_suffix(';')?.rsplit(' ').next())
            .map(|name| format!("{folder}/{name}"))
            .collect()
    }

    /// The same file, taken for tests alone when one of `modules` says so.
    pub fn within(mut self, modules: &[String]) -> Source {
        let is_in = |module: &String| {
            let rest = self.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if modules.iter().any(is_in) {
            self.tests_from = 0;
        }
        self
    }

    /// What `complain` says of each line of code, given its number from 0, as `path:line: words`.
    fn lines(&self, complain: impl Fn(usize, &str) -> Option<String>) -> Vec<String> {
        let said = |(at, line)| complain(at, line).map(|why| self.at(at, &why));
        self.code.lines().enumerate().filter_map(said).collect()
    }

    fn at(&self, line: usize, why: &str) -> String {
        format!("{}:{}: {why}", self.path, line + 1)
    }
}

/// The modules that only tests have: the line of the attribute, from 0, and the line below it.
fn modules_of_tests<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = (usize, &'a str)> {
    let pairs = lines.windows(2).enumerate();
    let marked = pairs.filter(|(_, pair)| pair[0].trim() == "#[cfg(test)]");
    let modules = marked.filter(|(_, pair)| pair[1].split(' ').any(|word| word == "mod"));
    modules.map(|(at, pair)| (at, pair[1].trim_end()))
}

pub fn header(source: &Source) -> Vec<String> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![source.at(0, "begin with `//!` and what this file is for")]
}

pub fn columns(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            complaints.push(source.at(at, &format!("{columns} columns, {COLUMNS_MAX} allowed")));
        }
    }
    complaints
}

pub fn file_length(source: &Source) -> Vec<String> {
    // Tests are told in full; a file of tests has no line before them.
    let lines = source.tests_from;
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![source.at(0, &format!("{lines} lines, {FILE_LINES_MAX} allowed: make it two files"))]
}

pub fn function_length(source: &Source) -> Vec<String> {
    code::functions(&source.code)
        .into_iter()
        .filter(|function| function.lines > FUNCTION_LINES_MAX)
        .map(|function| {
            let (name, lines) = (function.name, function.lines);
            let why = format!("`{name}` has {lines} lines, {FUNCTION_LINES_MAX} allowed");
            source.at(function.line - 1, &why)
        })
        .collect()
}

pub fn name(source: &Source) -> Vec<String> {
    let empty_names = ["common", "helper", "helpers", "manager", "misc", "mod.rs", "util", "utils"];
    source
        .path
        .split('/')
        .filter(|part| empty_names.contains(part) || empty_names.contains(&stem(part)))
        .map(|part| source.at(0, &format!("`{part}` says nothing of what is in it")))
        .collect()
}

fn stem(part: &str) -> &str {
    part.strip_suffix(".rs").unwrap_or(part)
}

pub fn unfinished(source: &Source) -> Vec<String> {
    let words = ["todo!", "dbg!", "unimplemented!", "#[ignore]", "#[allow(", "#![allow("];
    let mut complaints = source.lines(|_, line| {
        let word = words.iter().find(|word| line.contains(**word))?;
        Some(format!("`{word}` does not go in (`#[expect(…, reason)]`, `#[ignore = …]` may)"))
    });
    let marks = [concat!("FIX", "ME"), concat!("XX", "X:"), concat!("TO", "DO")];
    for (at, line) in source.text.lines().enumerate() {
        if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
            complaints.push(source.at(at, &format!("`{mark}`: do it or drop it")));
        }
    }
    complaints
}

pub fn unwraps(source: &Source) -> Vec<String> {
    source.lines(|at, line| {
        let bad = at < source.tests_from && line.contains(".unwrap()");
        bad.then(|| "return the error, or `expect` with why it cannot be".to_owned())
    })
}

pub fn sleeps(source: &Source) -> Vec<String> {
    let raw: Vec<&str> = source.text.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    let functions = code::functions(&source.code);
    let polls = |at: usize| {
        let around = functions
            .iter()
            .filter(|function| (function.line..function.line + function.lines).contains(&(at + 1)));
        // The innermost one has the loop that the pause is of.
        let begins = around.map(|function| function.line - 1).max().unwrap_or(at);
        let loops = ["while ", "loop {", "for "];
        let is_in_loop = code[begins..at].iter().any(|line| loops.iter().any(|l| line.contains(l)));
        raw[at].ends_with("// poll") && is_in_loop
    };
    let bad = source.lines(|at, line| {
        let bad = at >= source.tests_from && line.contains("sleep(") && !polls(at);
        let why = "poll for what you wait for in a loop, and say `// poll` where it pauses";
        bad.then(|| why.to_owned())
    });
    match SLEEPS_ALLOWED.iter().find(|(path, ..)| *path == source.path) {
        Some((_, count, _)) if *count == bad.len() => Vec::new(),
        Some((_, count, what_for)) => {
            let why = format!("{} sleeps, where {count} are allowed: {what_for}", bad.len());
            vec![source.at(0, &why)]
        }
        None => bad,
    }
}

/// What is decided must come out the same whenever it is asked again: time and ids are passed in.
pub fn domain_purity(source: &Source) -> Vec<String> {
    let is_domain = ["aggregates/src/", "event-schemas/src/"]
        .iter()
        .any(|folder| source.path.starts_with(folder));
    let impure = ["Utc::now", "SystemTime::now", "Instant::now", "new_v4", "now_v7", "rand::"];
    source.lines(|at, line| {
        let is_meant = is_domain && at < source.tests_from;
        let word = impure.iter().find(|word| line.contains(**word))?;
        is_meant.then(|| format!("`{word}` in the domain: have it passed in"))
    })
}

/// The lists of routes. Of the first two, the table of who may do what reads them; what the others
/// have is open to all, or has tests of its own.
const ROUTES: &[&str] = &[
    "command-api/src/routes.rs",
    "query-api/src/routes.rs",
    "veza/src/docs.rs",
    "veza/src/probes.rs",
];

/// A route that is not in a list would be missing in the table of who may do what.
pub fn routes(source: &Source) -> Vec<String> {
    let ways = [".route(", ".routes(", ".route_service(", ".nest(", ".nest_service("];
    source.lines(|at, line| {
        let is_meant = at < source.tests_from && !ROUTES.contains(&source.path.as_str());
        let way = ways.iter().find(|way| line.contains(**way))?;
        is_meant.then(|| format!("`{way}…)` outside of the lists of routes: {}", ROUTES.join(", ")))
    })
}

/// What a merge leaves where two changes met and nobody looked.
pub fn merged(source: &Source) -> Vec<String> {
    let marks = ["<<<<<<< ", ">>>>>>> "];
    let lines = source.text.lines().enumerate();
    let marked = lines.filter(|(_, line)| marks.iter().any(|mark| line.starts_with(mark)));
    marked.map(|(at, _)| source.at(at, "two changes met here: choose")).collect()
}

pub fn machine_words(source: &Source) -> Vec<String> {
    let folders = ["work", "tmp", "home", "root"].map(|folder| format!("/{folder}/"));
    let mut complaints = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let lower = line.to_lowercase();
        if let Some(folder) = folders.iter().find(|folder| names_folder(line, folder)) {
            complaints.push(source.at(at, &format!("`{folder}` is a path of one machine")));
        }
        let after = lower.split_once(concat!("iss", "ue ")).map(|(_, after)| after);
        if after.is_some_and(|after| after.starts_with(|c: char| c == '#' || c.is_ascii_digit())) {
            complaints.push(source.at(at, "say the reason here, not where it was discussed"));
        }
    }
    complaints
}

/// Whether the line names something in `folder` itself, and not in a longer path's folder so named.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + folder.len()..].chars().next();
        !before.is_some_and(|c| c.is_alphanumeric() || "-_.~}>/".contains(c))
            && after.is_some_and(|c| c.is_ascii_alphanumeric())
    })
}

/// Shows `rule` a file that breaks it on `line` and one that obeys.
fn catches(rule: Rule, bad: (&str, &str), line: usize, good: (&str, &str)) {
    let said = rule(&Source::new(bad.0, bad.1));
    assert_eq!(said.len(), 1, "one complaint: {said:?}");
    assert!(said[0].starts_with(&format!("{}:{line}: ", bad.0)), "{}", said[0]);
    assert_eq!(rule(&Source::new(good.0, good.1)), Vec::<String>::new());
}

#[test]
fn each_rule_on_shape_catches_what_breaks_it() {
    catches(header, ("a.rs", "fn a() {}"), 1, ("a.rs", "//! A.\nfn a() {}"));
    let (long, fits) = ("é".repeat(101), "é".repeat(100));
    catches(columns, ("a.rs", &format!("\n{long}")), 2, ("a.rs", &fits));
    let lines = "\n".repeat(600);
    let tested = format!("{lines}#[cfg(test)]\nmod tests {{}}");
    catches(file_length, ("a.rs", &format!("{lines}x")), 1, ("a.rs", &tested));
    let body = "\n".repeat(69);
    let (long, fits) = (format!("\nfn a() {{\n{body}}}"), format!("fn a() {{{body}}}"));
    catches(function_length, ("a.rs", &long), 2, ("a.rs", &fits));
    catches(name, ("a/utils/b.rs", ""), 1, ("a/common_name.rs", ""));
    catches(name, ("a/mod.rs", ""), 1, ("a.rs", ""));
}

#[test]
fn each_rule_on_words_catches_what_breaks_it() {
    catches(unfinished, ("a.rs", "\ntodo!()"), 2, ("a.rs", "\"todo!()\""));
    let why = "#[ignore = \"needs a server\"]";
    catches(unfinished, ("a.rs", "#[ignore]"), 1, ("a.rs", why));
    let tested = "a()\n#[cfg(test)]\nmod tests { b.unwrap() }";
    catches(unwraps, ("a/src/a.rs", "a.unwrap()"), 1, ("a/src/a.rs", tested));
    let polling = "fn a() {\nwhile b() {\nsleep(x); // poll\n}\n}";
    catches(sleeps, ("a/tests/a.rs", "sleep(x); // poll"), 1, ("a/tests/a.rs", polling));
    let not_polling = polling.replace("// poll", "// No poll.");
    catches(sleeps, ("a/tests/a.rs", &not_polling), 3, ("a/tests/a.rs", polling));
    let elsewhere = format!("{polling}\nfn b() {{\nsleep(x); // poll\n}}");
    catches(sleeps, ("a/tests/a.rs", &elsewhere), 7, ("a/tests/a.rs", polling));
    let listed = SLEEPS_ALLOWED[0].0;
    catches(sleeps, (listed, "sleep(x);\nsleep(x);"), 1, (listed, "sleep(x);"));
    catches(
        sleeps,
        ("a/src/a.rs", "#[cfg(test)]\nmod t { sleep(x); }"),
        2,
        ("a/src/a.rs", "sleep(x);"),
    );
    let in_tests = ("a/src/a/tests.rs", "sleep(x); b.unwrap()");
    catches(sleeps, in_tests, 1, ("a/src/tested.rs", "sleep(x);"));
    catches(unwraps, ("a/src/tested.rs", "b.unwrap()"), 1, in_tests);
    let parent = Source::new("a/src/b.rs", "#[cfg(test)]\npub(crate) mod c;\nx.unwrap()");
    assert_eq!(unwraps(&parent).len(), 1, "a test's module does not make the rest a test");
    assert_eq!(parent.modules_of_tests(), ["a/src/b/c"]);
    let child = |path| Source::new(path, "x.unwrap()").within(&parent.modules_of_tests());
    assert_eq!(unwraps(&child("a/src/b/c.rs")).len() + unwraps(&child("a/src/b/c/d.rs")).len(), 0);
    assert_eq!(unwraps(&child("a/src/b/cd.rs")).len(), 1);
    let plain = "Router::new().route(path, get(all))";
    catches(routes, ("query-api/src/api.rs", plain), 1, ("query-api/src/routes.rs", plain));
    let mark = concat!("\n", "<<<<<<", "< a");
    catches(merged, ("a.md", mark), 2, ("a.md", "\n <<<<<<< a"));
    let clock = "let now = Utc::now();";
    catches(domain_purity, ("aggregates/src/a.rs", clock), 1, ("media/src/a.rs", clock));
    let path = concat!("see /tm", "p/a");
    catches(machine_words, ("a.md", path), 1, ("a.md", concat!("$TMPDIR/tm", "p/a")));
    let talk = concat!("as iss", "ue 7 says");
    catches(machine_words, ("a.md", talk), 1, ("a.md", "two issues"));
}
