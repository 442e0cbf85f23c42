//! Users made, changed, looked at and logged in.

use std::fmt;
use std::sync::Arc;

use super::credentials::Credentials;
use super::error::UsersError;
use super::login::Login;
use super::password::{Hasher, Password};
use super::record::Record;
use super::streams::{Found, UserStreams};
use super::user::User;
use crate::access::{ADMINS, OPERATORS, Principal};
use crate::limits::{USER_GROUPS_MAX, USER_NAME_BYTES_MAX};
use crate::port::EventStore;

/// The users that every store has, and what they are called.
const ADMIN: (&str, &str, &str) = ("admin", "KurrentDB Administrator", ADMINS);
const OPERATOR: (&str, &str, &str) = ("ops", "KurrentDB Operations", OPERATORS);

/// The password of both, unless another is chosen before they are made.
const DEFAULT_PASSWORD: &str = "changeit";

/// The passwords that `admin` and `ops` get when they are made.
#[derive(Clone, Debug)]
pub struct DefaultPasswords {
    /// That of `admin`.
    pub admin: Password,
    /// That of `ops`.
    pub ops: Password,
}

impl DefaultPasswords {
    /// Those that are chosen, or what EventStoreDB has.
    pub fn new(admin: Option<String>, ops: Option<String>) -> Result<Self, UsersError> {
        let password = |chosen: Option<String>| {
            Password::chosen(chosen.unwrap_or_else(|| DEFAULT_PASSWORD.to_owned()))
        };
        Ok(Self { admin: password(admin)?, ops: password(ops)? })
    }
}

/// The users of one store. Cheap to clone; it needs a Tokio runtime around it.
#[derive(Clone)]
pub struct Users {
    streams: Arc<UserStreams>,
    hasher: Arc<Hasher>,
    credentials: Arc<Credentials>,
}

impl fmt::Debug for Users {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Users")
    }
}

impl Users {
    /// The users that are kept in this store.
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        let hasher = Arc::new(Hasher::new());
        let credentials = Arc::new(Credentials::new(Arc::clone(&hasher)));
        Self { streams: Arc::new(UserStreams(store)), hasher, credentials }
    }

    /// Makes `admin` and `ops` where they are not there, as any store has them that asks who calls.
    pub async fn make_defaults(&self, passwords: DefaultPasswords) -> Result<(), UsersError> {
        for ((login, full_name, group), password) in
            [(ADMIN, passwords.admin), (OPERATOR, passwords.ops)]
        {
            let login = Login::new(login)?;
            match self.streams.find(&login).await {
                Err(UsersError::NotFound(_)) => {}
                found => {
                    found?;
                    continue;
                }
            }
            self.create(&login, full_name, &[group.to_owned()], password).await?;
        }
        Ok(())
    }

    /// Whether `admin` still has the password that everybody knows.
    pub async fn admin_has_the_default_password(&self) -> Result<bool, UsersError> {
        let password = Password::new(DEFAULT_PASSWORD)?;
        match self.log_in(ADMIN.0, password).await {
            Ok(_) => Ok(true),
            Err(UsersError::WrongPassword) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a user. Who is there already with the same password was made by an earlier attempt.
    pub async fn create(
        &self,
        login: &Login,
        full_name: &str,
        groups: &[String],
        password: Password,
    ) -> Result<(), UsersError> {
        check(full_name, groups)?;
        match self.streams.find(login).await {
            Err(UsersError::NotFound(_)) => {}
            found => {
                let hash = found?.record.hash;
                return match self.hasher.verify(password, Some(hash)).await? {
                    true => Ok(()),
                    false => Err(UsersError::Conflict(login.clone())),
                };
            }
        }
        let record = Record {
            login_name: login.as_str().to_owned(),
            full_name: full_name.to_owned(),
            salt: String::new(),
            hash: self.hasher.hash(password).await?,
            disabled: false,
            groups: groups.to_vec(),
        };
        self.streams.create(login, &record).await
    }

    /// Changes what a user is called, and the groups they are in.
    pub async fn update(
        &self,
        login: &Login,
        full_name: &str,
        groups: &[String],
    ) -> Result<(), UsersError> {
        check(full_name, groups)?;
        let found = self.streams.find(login).await?;
        let (full_name, groups) = (full_name.to_owned(), groups.to_vec());
        let record = Record { full_name, groups, ..found.record.clone() };
        self.streams.update(login, &found, &record).await
    }

    /// Lets a user log in, or not for now.
    pub async fn set_disabled(&self, login: &Login, disabled: bool) -> Result<(), UsersError> {
        let found = self.streams.find(login).await?;
        let record = Record { disabled, ..found.record.clone() };
        self.streams.update(login, &found, &record).await
    }

    /// Deletes a user.
    pub async fn delete(&self, login: &Login) -> Result<(), UsersError> {
        let found = self.streams.find(login).await?;
        self.streams.delete(login, &found).await
    }

    /// What is known of a user.
    pub async fn details(&self, login: &Login) -> Result<User, UsersError> {
        Ok(self.streams.find(login).await?.user)
    }

    /// What is known of all users, by their login names.
    pub async fn all(&self) -> Result<Vec<User>, UsersError> {
        self.streams.all().await
    }

    /// Gives a user another password, for somebody who knows the one they have.
    pub async fn change_password(
        &self,
        login: &Login,
        current: Password,
        new: Password,
    ) -> Result<(), UsersError> {
        let found = self.streams.find(login).await?;
        if !self.hasher.verify(current, Some(found.record.hash.clone())).await? {
            return Err(UsersError::WrongPassword);
        }
        self.set_password(login, &found, new).await
    }

    /// Gives a user another password.
    pub async fn reset_password(&self, login: &Login, new: Password) -> Result<(), UsersError> {
        let found = self.streams.find(login).await?;
        self.set_password(login, &found, new).await
    }

    /// Who it is that gives this name and password; [`UsersError::WrongPassword`] where it is
    /// nobody, or nobody who may log in.
    pub async fn log_in(&self, login: &str, password: Password) -> Result<Principal, UsersError> {
        let Some(found) = self.look_up(login).await? else {
            self.hasher.verify(password, None).await?;
            return Err(UsersError::WrongPassword);
        };
        let Record { hash, disabled, groups, .. } = &found.record;
        let is_right = self.credentials.prove(found.event, hash, password).await?;
        match is_right && !disabled {
            true => Ok(Principal::user(login, groups)),
            false => Err(UsersError::WrongPassword),
        }
    }

    /// Who it is whose name somebody else vouches for. Where that is no user, or a disabled one, it
    /// is nobody: what they ask may say who they are all the same, or need nobody to.
    pub async fn vouched_for(&self, login: &str) -> Result<Principal, UsersError> {
        match self.look_up(login).await? {
            Some(found) if !found.record.disabled => {
                Ok(Principal::user(login, &found.record.groups))
            }
            _ => Ok(Principal::Anonymous),
        }
    }

    async fn look_up(&self, login: &str) -> Result<Option<Found>, UsersError> {
        let Ok(login) = Login::new(login) else { return Ok(None) };
        match self.streams.find(&login).await {
            Ok(found) => Ok(Some(found)),
            Err(UsersError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn set_password(
        &self,
        login: &Login,
        found: &Found,
        new: Password,
    ) -> Result<(), UsersError> {
        let hash = self.hasher.hash(new).await?;
        let record = Record { hash, salt: String::new(), ..found.record.clone() };
        self.streams.update(login, found, &record).await
    }
}

fn check(full_name: &str, groups: &[String]) -> Result<(), UsersError> {
    let too_long = |what, max, unit| Err(UsersError::TooLong { what, max, unit });
    if full_name.len() > USER_NAME_BYTES_MAX {
        return too_long("full name", USER_NAME_BYTES_MAX, "bytes");
    }
    if groups.len() > USER_GROUPS_MAX {
        return too_long("list of groups", USER_GROUPS_MAX, "groups");
    }
    if groups.iter().any(|group| group.len() > USER_NAME_BYTES_MAX) {
        return too_long("name of a group", USER_NAME_BYTES_MAX, "bytes");
    }
    Ok(())
}
