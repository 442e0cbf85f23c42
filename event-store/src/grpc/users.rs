//! The Users service: administrators keep users, and users their passwords.

use futures::stream::{self, BoxStream, StreamExt};
use tonic::{Code, Request, Response, Status};

use super::caller::{Caller, denied};
use super::problem::{exception, of_store};
use super::proto::event_store::client::users as sent;
use super::proto::event_store::client::users::users_server;
use crate::access::Operation;
use crate::users::{Login, Password, User, Users, UsersError};
use sent::details_resp::UserDetails;
use sent::details_resp::user_details::DateTime;
use sent::{
    ChangePasswordReq, ChangePasswordResp, CreateReq, CreateResp, DeleteReq, DeleteResp,
    DetailsReq, DetailsResp, DisableReq, DisableResp, EnableReq, EnableResp, ResetPasswordReq,
    ResetPasswordResp, UpdateReq, UpdateResp,
};

/// The protocol counts time in 100 ns.
const TICKS_PER_MICROSECOND: i64 = 10;

/// Answers for the users of the store.
pub(super) struct UsersService {
    users: Users,
}

impl UsersService {
    pub(super) fn new(users: Users) -> Self {
        Self { users }
    }
}

type Details = BoxStream<'static, Result<DetailsResp, Status>>;

#[tonic::async_trait]
impl users_server::Users for UsersService {
    type DetailsStream = Details;

    async fn create(&self, request: Request<CreateReq>) -> Result<Response<CreateResp>, Status> {
        Caller::of(&request)?.may(Operation::ManageUsers)?;
        let asked = request.into_inner().options.unwrap_or_default();
        let login = login(&asked.login_name)?;
        let password = Password::chosen(asked.password).map_err(|it| of_users(&it))?;
        let created = self.users.create(&login, &asked.full_name, &asked.groups, password).await;
        done(created, CreateResp {})
    }

    async fn update(&self, request: Request<UpdateReq>) -> Result<Response<UpdateResp>, Status> {
        Caller::of(&request)?.may(Operation::ManageUsers)?;
        let asked = request.into_inner().options.unwrap_or_default();
        let login = login(&asked.login_name)?;
        done(self.users.update(&login, &asked.full_name, &asked.groups).await, UpdateResp {})
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        Caller::of(&request)?.may(Operation::ManageUsers)?;
        let asked = request.into_inner().options.unwrap_or_default();
        done(self.users.delete(&login(&asked.login_name)?).await, DeleteResp {})
    }

    async fn disable(&self, request: Request<DisableReq>) -> Result<Response<DisableResp>, Status> {
        Caller::of(&request)?.may(Operation::ManageUsers)?;
        let asked = request.into_inner().options.unwrap_or_default();
        done(self.users.set_disabled(&login(&asked.login_name)?, true).await, DisableResp {})
    }

    async fn enable(&self, request: Request<EnableReq>) -> Result<Response<EnableResp>, Status> {
        Caller::of(&request)?.may(Operation::ManageUsers)?;
        let asked = request.into_inner().options.unwrap_or_default();
        done(self.users.set_disabled(&login(&asked.login_name)?, false).await, EnableResp {})
    }

    async fn details(&self, request: Request<DetailsReq>) -> Result<Response<Details>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner().options.unwrap_or_default().login_name;
        let users = if asked.trim().is_empty() {
            caller.may(Operation::ManageUsers)?;
            self.users.all().await
        } else {
            caller.may(Operation::LookAtUser(&asked))?;
            self.users.details(&login(&asked)?).await.map(|user| vec![user])
        };
        let users = users.map_err(|error| of_users(&error))?;
        Ok(Response::new(stream::iter(users).map(|user| Ok(told(user))).boxed()))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordReq>,
    ) -> Result<Response<ChangePasswordResp>, Status> {
        Caller::of(&request)?.may(Operation::ChangePassword)?;
        let asked = request.into_inner().options.unwrap_or_default();
        let login = login(&asked.login_name)?;
        let current = Password::new(asked.current_password).map_err(|it| of_users(&it))?;
        let new = Password::chosen(asked.new_password).map_err(|it| of_users(&it))?;
        done(self.users.change_password(&login, current, new).await, ChangePasswordResp {})
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordReq>,
    ) -> Result<Response<ResetPasswordResp>, Status> {
        Caller::of(&request)?.may(Operation::ManageUsers)?;
        let asked = request.into_inner().options.unwrap_or_default();
        let login = login(&asked.login_name)?;
        let new = Password::chosen(asked.new_password).map_err(|it| of_users(&it))?;
        done(self.users.reset_password(&login, new).await, ResetPasswordResp {})
    }
}

fn login(name: &str) -> Result<Login, Status> {
    Login::new(name).map_err(|error| of_users(&error.into()))
}

fn done<T>(result: Result<(), UsersError>, answer: T) -> Result<Response<T>, Status> {
    result.map(|()| Response::new(answer)).map_err(|error| of_users(&error))
}

fn told(user: User) -> DetailsResp {
    let ticks_since_epoch = user.last_updated.timestamp_micros() * TICKS_PER_MICROSECOND;
    let user_details = UserDetails {
        login_name: user.login.to_string(),
        full_name: user.full_name,
        groups: user.groups,
        last_updated: Some(DateTime { ticks_since_epoch }),
        disabled: user.disabled,
    };
    DetailsResp { user_details: Some(user_details) }
}

/// What goes wrong with users, as statuses that official clients know.
fn of_users(error: &UsersError) -> Status {
    let about = |code, name, login: &Login, message| {
        exception(code, message, name, &[("login-name", login.to_string())])
    };
    match error {
        UsersError::NotFound(login) => {
            let message = format!("User '{login}' is not found.");
            about(Code::NotFound, "user-not-found", login, message)
        }
        UsersError::Conflict(login) => {
            about(Code::FailedPrecondition, "user-conflict", login, "Conflict.".to_owned())
        }
        UsersError::WrongPassword => denied(),
        UsersError::InvalidLogin(_) | UsersError::TooLong { .. } | UsersError::EmptyPassword => {
            Status::invalid_argument(error.to_string())
        }
        UsersError::Busy => Status::unavailable("Server Is Too Busy"),
        UsersError::Corrupt(_) => Status::data_loss(error.to_string()),
        UsersError::Store(error) => of_store(error),
    }
}
