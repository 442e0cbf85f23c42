//! `veza user`: accounts made and raised on the server's own machine, which nobody else can do
//! first. Works beside a running platform, and on a folder at rest.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use aggregates::CommandHandler;
use aggregates::user::{Grantor, Role, User, UserCommand};
use anyhow::{Context as _, bail};
use chrono::Utc;
use command_api::identity::{
    Accounts, Email, Handle, KnownPeople as _, NewAccount, Password, PasswordHash, ReserveError,
    reserve,
};
use event_schemas::UserId;
use event_store::password_hash::PasswordHasher;
use projections::postgres::Profiles;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use uuid::Uuid;

use crate::config::{Config, PlaceFlags};
use crate::console::say;
use crate::known_people::LogOfPeople;
use crate::log_guard;
use crate::own_command;
use crate::parts::{Database, Events};
use crate::read_side::ReadSide;

/// The reason that is kept with roles given here.
const REASON: &str = "given on the server's own machine";
/// How many accounts are looked at together.
const LOOKED_AT: u32 = 1_000;
/// Longest file with a password, in bytes.
const PASSWORD_FILE_BYTES_MAX: u64 = 4096;

/// Accounts, by whoever works on the server's own machine.
#[derive(Debug, Clone, clap::Args)]
pub struct UserArgs {
    /// Whose accounts.
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(subcommand)]
    command: UserCommandLine,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum UserCommandLine {
    /// Make an account whose address counts as confirmed
    Create(CreateArgs),
    /// Give an account to somebody whom the log knows and who has none: the database was lost, or
    /// is older than the log; without a handle, list those who have proved an address
    Adopt {
        /// The unique name others find them by
        #[arg(long, requires = "email")]
        handle: Option<String>,
        /// The address they will log in with; it counts as confirmed
        #[arg(long, requires = "handle")]
        email: Option<String>,
        /// A file whose first line is the password; without it, it is asked for
        #[arg(long, value_name = "FILE", requires = "handle")]
        password_file: Option<PathBuf>,
    },
    /// Give an account another address, another password, or both
    #[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
    Change {
        /// The unique name of who has the account
        #[arg(long)]
        handle: String,
        /// The address they will log in with; it counts as confirmed
        #[arg(long, group = "what")]
        email: Option<String>,
        /// Ask for a password
        #[arg(long, group = "what")]
        password: bool,
        /// A file whose first line is the password
        #[arg(long, value_name = "FILE", group = "what", conflicts_with = "password")]
        password_file: Option<PathBuf>,
    },
    /// List the confirmed accounts of nobody in the log, which is older than the database; with
    /// --all drop them, so that their handles and addresses are free and they can sign up anew
    Release {
        /// Drop them
        #[arg(long)]
        all: bool,
    },
    /// Give an account a role
    Grant {
        /// The account's address
        #[arg(long)]
        email: String,
        /// listener, artist, label, moderator, support or administrator
        #[arg(long)]
        role: Role,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct CreateArgs {
    /// The address one logs in with
    #[arg(long)]
    email: String,
    /// listener, artist, label, moderator, support or administrator; may be given more than once
    #[arg(long = "role", value_name = "ROLE", default_value = "listener")]
    roles: Vec<Role>,
    /// The unique name others find one by; without it, made of the address
    #[arg(long)]
    handle: Option<String>,
    /// The name others see; without it, the handle
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// A file whose first line is the password; without it, it is asked for
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Does it on the platform of these settings, and says what was done.
///
/// # Errors
/// What was wrong with what was said, or which part can't be reached.
pub async fn run(args: UserArgs, config: Config) -> anyhow::Result<()> {
    // All that can be wrong with the words is told before anything is opened.
    let asked = match args.command {
        UserCommandLine::Create(args) => Asked::Create(Box::new(NewUser::read(args)?)),
        UserCommandLine::Adopt { handle: Some(handle), email: Some(email), password_file } => {
            let handle = Handle::new(&handle).context("--handle")?;
            Asked::Adopt(handle, address(&email)?, password(password_file)?)
        }
        UserCommandLine::Adopt { .. } => Asked::ListAdoptable,
        UserCommandLine::Change { handle, email, password: ask, password_file } => {
            let handle = Handle::new(&handle).context("--handle")?;
            let email = email.map(|email| address(&email)).transpose()?;
            let chosen = ask || password_file.is_some();
            let password = chosen.then(|| password(password_file)).transpose()?;
            Asked::Change(handle, email, password)
        }
        UserCommandLine::Release { all } => Asked::Release { all },
        UserCommandLine::Grant { email, role } => Asked::Grant(address(&email)?, role),
    };
    if !config.data.is_dir() && config.database_url.is_none() {
        bail!("there is no platform in {}: start it once first", config.data.display());
    }
    let mut database = Database::beside(&config).await?;
    let events = match Events::beside(&config).await {
        Ok(events) => events,
        Err(error) => {
            database.close().await?;
            return Err(error);
        }
    };
    let done = async {
        let (_, models) = ReadSide::of(&config, &database.pool)?.models();
        log_guard::check(&database.pool, &*events.store(), &models).await?;
        if !Accounts::are_in(&database.pool).await? {
            bail!(
                "the database has no accounts: name the platform's (setting database_url), or \
                 start the platform with this one once first"
            );
        }
        let accounts = Accounts::open(database.pool.clone()).await?;
        let (handler, people) =
            (CommandHandler::new(events.store()), LogOfPeople::new(events.store()));
        let profiles = Profiles::new(database.pool.clone());
        // Accounts alone may have been put back from anywhere.
        profiles.confirmed(None, 1).await.context(
            "the database can't tell whom the log knows: name the platform's (setting \
             database_url), or start the platform with this one once first",
        )?;
        let office = Office { accounts, people, profiles, handler };
        match asked {
            Asked::Create(new) => office.create(*new).await,
            Asked::Adopt(handle, email, password) => office.adopt(handle, email, password).await,
            Asked::ListAdoptable => office.list_adoptable().await,
            Asked::Change(handle, email, password) => office.change(handle, email, password).await,
            Asked::Release { all } => office.release(all).await,
            Asked::Grant(email, role) => office.grant(&email, role).await,
        }
    };
    let done = done.await;
    let closed = database.close().await.and(events.close().await);
    say(done?);
    closed
}

enum Asked {
    Create(Box<NewUser>),
    Adopt(Handle, Email, Password),
    ListAdoptable,
    Change(Handle, Option<Email>, Option<Password>),
    Release { all: bool },
    Grant(Email, Role),
}

/// Who is to be made.
struct NewUser {
    email: Email,
    handle: Handle,
    /// Whether the handle was made of the address, and another would do.
    made_up: bool,
    display_name: Option<String>,
    password: Password,
    roles: BTreeSet<Role>,
}

impl NewUser {
    fn read(args: CreateArgs) -> anyhow::Result<Self> {
        let email = address(&args.email)?;
        let made_up = args.handle.is_none();
        let handle = match &args.handle {
            Some(handle) => Handle::new(handle).context("--handle")?,
            None => {
                let local = email.folded().split('@').next().unwrap_or_default();
                Handle::new(local).unwrap_or_else(|_| any_handle())
            }
        };
        let (display_name, roles) = (args.display_name, args.roles.into_iter().collect());
        let password = password(args.password_file)?;
        Ok(Self { email, handle, made_up, display_name, password, roles })
    }
}

fn address(text: &str) -> anyhow::Result<Email> {
    Email::new(text).context("--email")
}

/// A handle that nobody has.
fn any_handle() -> Handle {
    let id = Uuid::new_v4().simple().to_string();
    Handle::new(&format!("user_{}", &id[..12])).expect("it has the shape of a handle")
}

/// Where accounts are made.
struct Office {
    accounts: Accounts,
    people: LogOfPeople,
    profiles: Profiles,
    handler: CommandHandler,
}

impl Office {
    async fn create(&self, new: NewUser) -> anyhow::Result<String> {
        let user_id = UserId(Uuid::now_v7());
        let password = PasswordHash::new(PasswordHasher::new(1).hash(new.password).await);
        let mut account = NewAccount { user_id, handle: new.handle, email: new.email, password };
        let chosen: BTreeSet<_> =
            new.roles.iter().copied().filter(|role| role.may_be_chosen()).collect();
        let register = |account: &NewAccount| {
            let handle = account.handle.to_string();
            let display_name = new.display_name.clone().unwrap_or_else(|| handle.clone());
            UserCommand::Register { user_id, handle, display_name, roles: chosen.clone() }
        };
        let named = (!new.made_up).then_some(&account.handle);
        self.accounts.make_way(&account, named).await?;
        let reserved = self.reserve(&account, &register(&account)).await;
        match reserved {
            Err(error) if new.made_up && error.is_handle_taken() => {
                account.handle = any_handle();
                self.reserve(&account, &register(&account)).await?;
            }
            reserved => reserved?,
        }
        own_command::execute(&self.handler, user_id, register(&account)).await?;
        self.confirm(user_id).await?;
        for role in new.roles.iter().copied().filter(|role| !role.may_be_chosen()) {
            self.give(user_id, role).await?;
        }
        let names: Vec<_> = new.roles.iter().map(Role::to_string).collect();
        let (handle, email) = (&account.handle, account.email.as_str());
        Ok(format!("{user_id}  {handle}  {email}  {}", names.join(", ")))
    }

    async fn adopt(
        &self,
        handle: Handle,
        email: Email,
        password: Password,
    ) -> anyhow::Result<String> {
        let Some((user_id, _)) = self.people.whose(&handle).await? else {
            bail!("nobody has this handle");
        };
        let roles = self.handler.inspect(user_id, |user: &User| user.roles.clone()).await?;
        let password = PasswordHash::new(PasswordHasher::new(1).hash(password).await);
        let account = NewAccount { user_id, handle, email, password };
        if !self.accounts.adopt(&account, Utc::now()).await? {
            bail!(
                "{} has an account: `veza user change` gives it another address or password",
                account.handle
            );
        }
        own_command::execute(&self.handler, user_id, UserCommand::ConfirmEmail).await?;
        let (handle, email) = (account.handle, account.email.as_str());
        let roles = Vec::from_iter(roles).join(", ");
        Ok(format!("{user_id}  {handle}  {email}  {roles}"))
    }

    async fn list_adoptable(&self) -> anyhow::Result<String> {
        let (mut found, mut after) = (0_u64, None);
        loop {
            let some = self.profiles.confirmed(after, LOOKED_AT).await?;
            let lacking = self.accounts.lacking(&some, Utc::now()).await?;
            for person in self.profiles.by_ids(&lacking).await? {
                say(format_args!("{}  {}", person.user_id, person.handle));
                found += 1;
            }
            after = some.last().copied();
            if some.len() < LOOKED_AT as usize {
                break;
            }
        }
        Ok(match found {
            0 => "all who have proved an address have an account".to_owned(),
            _ => "--handle and --email give one of them an account".to_owned(),
        })
    }

    async fn change(
        &self,
        handle: Handle,
        email: Option<Email>,
        password: Option<Password>,
    ) -> anyhow::Result<String> {
        let password = match password {
            Some(password) => Some(PasswordHash::new(PasswordHasher::new(1).hash(password).await)),
            None => None,
        };
        let changed = self.accounts.change(&handle, email.as_ref(), password.as_ref()).await?;
        let Some(user_id) = changed else {
            bail!("nobody has a confirmed account with this handle");
        };
        let what = match (email, password) {
            (Some(email), None) => format!("logs in with {}", email.as_str()),
            (Some(email), Some(_)) => {
                format!("logs in with {} and another password", email.as_str())
            }
            (None, _) => "has another password".to_owned(),
        };
        Ok(format!("{user_id}  {handle}  {what}"))
    }

    async fn release(&self, all: bool) -> anyhow::Result<String> {
        let (mut found, mut after) = (0_u64, None);
        loop {
            let some = self.accounts.confirmed(after, LOOKED_AT).await?;
            for (user_id, handle) in &some {
                if self.is_in_log(*user_id, handle).await? {
                    continue;
                }
                if all {
                    self.accounts.release(*user_id).await?;
                }
                // At once: there may be many, and who stops here has seen which are done.
                say(format_args!("{user_id}  {handle}"));
                found += 1;
            }
            after = some.last().map(|(user_id, _)| *user_id);
            if some.len() < LOOKED_AT as usize {
                break;
            }
        }
        let told = match (found, all) {
            (0, _) => "the log knows whoever has a confirmed account",
            (_, true) => "they can sign up anew",
            (_, false) => "--all drops them",
        };
        Ok(told.to_owned())
    }

    /// Whether the log knows somebody, and no other by their handle.
    async fn is_in_log(&self, user_id: UserId, handle: &Handle) -> anyhow::Result<bool> {
        let look = |user: &User| (user.user_id.is_some(), user.email_confirmed);
        Ok(match self.handler.inspect(user_id, look).await? {
            (false, _) => false,
            (true, true) => true,
            (true, false) => !self.people.is_anothers(handle, user_id).await?,
        })
    }

    /// Whoever is at the server's own machine answers for the address.
    async fn confirm(&self, user_id: UserId) -> anyhow::Result<()> {
        own_command::execute(&self.handler, user_id, UserCommand::ConfirmEmail).await?;
        let token = self.accounts.issue_confirmation(user_id, Utc::now()).await?;
        self.accounts.confirm(&token, Utc::now()).await?;
        Ok(())
    }

    async fn reserve(
        &self,
        account: &NewAccount,
        register: &UserCommand,
    ) -> Result<(), ReserveError> {
        let (accounts, handler) = (&self.accounts, &self.handler);
        reserve(accounts, &self.people, handler, account, register, Utc::now()).await.map(drop)
    }

    async fn grant(&self, email: &Email, role: Role) -> anyhow::Result<String> {
        let account = self.accounts.by_email(email).await?;
        let Some(account) = account else {
            bail!("there is no account with this address");
        };
        if !account.confirmed {
            bail!(
                "the address is not confirmed, so anybody may have signed up with it: let them \
                 send the token in their mail to POST /api/v1/email-confirmations, or make the \
                 account anew by `veza user create`"
            );
        }
        self.give(account.user_id, role).await?;
        Ok(format!("{}  {}  {role}", account.user_id, email.as_str()))
    }

    async fn give(&self, user_id: UserId, role: Role) -> anyhow::Result<()> {
        let reason = REASON.to_owned();
        let grant = UserCommand::GrantRole { by: Grantor::Operator, role, reason };
        Ok(own_command::execute(&self.handler, user_id, grant).await?)
    }
}

/// The password: of the file, or typed, or what is piped in.
fn password(file: Option<PathBuf>) -> anyhow::Result<Password> {
    let typed = match file {
        Some(file) => {
            let about = || format!("can't read the password in {}", file.display());
            if fs::metadata(&file).with_context(about)?.len() > PASSWORD_FILE_BYTES_MAX {
                bail!("{} is too large for a file with a password", file.display());
            }
            fs::read_to_string(&file).with_context(about)?
        }
        None if io::stdin().is_terminal() => {
            let typed = hidden("Password: ")?;
            if hidden("The same again: ")? != typed {
                bail!("the two are not the same");
            }
            typed
        }
        None => line()?,
    };
    let first = typed.lines().next().unwrap_or_default();
    Ok(Password::chosen(first.to_owned())?)
}

/// A line that is typed without being shown.
fn hidden(prompt: &str) -> anyhow::Result<String> {
    write!(io::stderr(), "{prompt}")?;
    let stdin = io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &silent)?;
    let typed = line();
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    writeln!(io::stderr())?;
    typed
}

fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    let limited = io::stdin().lock();
    io::Read::take(limited, PASSWORD_FILE_BYTES_MAX).read_line(&mut line)?;
    Ok(line)
}
