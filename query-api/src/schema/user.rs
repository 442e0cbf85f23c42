//! People: what everybody sees of them, and what they see of their own.

use access::Permission;
use async_graphql::{Context, Description, Enum, Object};
use event_schemas::UserId;
use projections::postgres::{Profile, profiles, tracks};
use uuid::Uuid;

use crate::failure::{Failure, Nullable};
use crate::reader::Reader;
use crate::rows::TracksOf;
use crate::schema::audio::Track;
use crate::schema::commerce::{Balance, BalanceChange, Listing, Order};
use crate::schema::connection::{Connection, connection};
use crate::schema::page::{cost, place};
use crate::schema::social::Channel;

/// What can be asked about people.
#[derive(Default)]
pub struct UserQuery;

#[Object]
impl UserQuery {
    /// One's own account.
    async fn me(&self, context: &Context<'_>) -> Result<Account, Failure> {
        let reader = Reader::of(context);
        let user = UserId(reader.require(Permission::ManageOwnAccount)?.user_id);
        // What is asked for alone need not wait for others to be loaded with.
        match reader.fresh(profiles::MODEL).await?.profiles.by_id(user).await? {
            Some(profile) => Ok(Account(profile)),
            None => {
                let late = reader.late_person(user).await?;
                Ok(Account(late.ok_or(Failure::NotYetVisible)?))
            }
        }
    }

    /// Somebody, by id or by handle: one of the two.
    async fn user(
        &self,
        context: &Context<'_>,
        id: Option<Uuid>,
        handle: Option<String>,
    ) -> Nullable<User> {
        async {
            let reader = Reader::of(context);
            let found = match (id, handle) {
                (Some(id), None) => {
                    reader.fresh(profiles::MODEL).await?.profiles.by_id(UserId(id)).await?
                }
                (None, Some(handle)) => {
                    let profiles = &reader.fresh(profiles::MODEL).await?.profiles;
                    profiles.by_handle(&handle.to_lowercase()).await?
                }
                _ => return Err(Failure::Validation("give either `id` or `handle`".to_owned())),
            };
            Ok(found.map(User))
        }
        .await
        .transpose()
    }
}

/// What a person is on the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "access::Role")]
pub enum Role {
    /// Listens, talks and buys.
    Listener,
    /// Publishes music of their own, and sells it.
    Artist,
    /// Publishes and sells for the artists it stands for.
    Label,
    /// Keeps the peace.
    Moderator,
    /// Helps people with their orders and accounts.
    Support,
    /// Runs the platform and grants roles.
    Administrator,
}

fn roles(profile: &Profile) -> Vec<Role> {
    // A role that this build does not know grants nothing in it.
    let known = profile.roles.iter().filter_map(|name| name.parse::<access::Role>().ok());
    known.map(Role::from).collect()
}

/// A person, as everybody sees them.
#[derive(Description)]
pub struct User(pub Profile);

#[Object(use_type_description)]
impl User {
    /// Which person.
    async fn id(&self) -> Uuid {
        self.0.user_id.0
    }

    /// The unique name others find them by.
    async fn handle(&self) -> &str {
        &self.0.handle
    }

    /// The name others see.
    async fn display_name(&self) -> &str {
        &self.0.display_name
    }

    /// What they say about themselves.
    async fn bio(&self) -> &str {
        &self.0.bio
    }

    /// What they are.
    async fn roles(&self) -> Vec<Role> {
        roles(&self.0)
    }

    /// What they have published, the last first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn tracks(
        &self,
        context: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Track>, Failure> {
        let place = place(first, after.as_deref())?;
        let page = Reader::of(context).rows.load_one(TracksOf(self.0.user_id, place)).await?;
        Ok(connection(page.unwrap_or_else(projections::Page::empty), place, Track))
    }
}

/// One's own account.
#[derive(Description)]
pub struct Account(pub Profile);

#[Object(use_type_description)]
impl Account {
    /// Oneself, as others see one.
    async fn user(&self) -> User {
        User(self.0.clone())
    }

    /// What one is.
    async fn roles(&self) -> Vec<Role> {
        roles(&self.0)
    }

    /// Whether the address was confirmed.
    async fn email_confirmed(&self) -> bool {
        self.0.email_confirmed
    }

    /// One's money, by currency.
    async fn balances(&self, context: &Context<'_>) -> Result<Vec<Balance>, Failure> {
        let holdings = Reader::of(context).holdings().await?;
        Ok(holdings.balances.iter().copied().map(Balance::from).collect())
    }

    /// What changed one's money, newest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn statement(
        &self,
        context: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<BalanceChange>, Failure> {
        let (after, size) = place(first, after.as_deref())?;
        let reader = Reader::of(context);
        let page = match reader.holdings().await?.changed_at {
            Some(last) => {
                let balances = &reader.parts.models.balances;
                balances.changes(self.0.user_id, last, after, size).await?
            }
            None => projections::Page::empty(),
        };
        Ok(connection(page, (after, size), BalanceChange::from))
    }

    /// The channels one is a member of, the one joined last first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn channels(
        &self,
        context: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Channel>, Failure> {
        let (after, size) = place(first, after.as_deref())?;
        let channels = Reader::of(context).channels().await?;
        let page = channels.of_member(self.0.user_id, after, size).await?;
        Ok(connection(page, (after, size), Channel))
    }

    /// What one has ordered, newest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn purchases(
        &self,
        context: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Order>, Failure> {
        let (after, size) = place(first, after.as_deref())?;
        let reader = Reader::of(context);
        let orders = &reader.fresh(projections::postgres::orders::MODEL).await?.orders;
        let page = orders.of_buyer(self.0.user_id, after, size).await?;
        Ok(connection(page, (after, size), Order))
    }

    /// What others have ordered of one, newest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn sales(
        &self,
        context: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Order>, Failure> {
        let (after, size) = place(first, after.as_deref())?;
        let reader = Reader::of(context);
        let orders = &reader.fresh(projections::postgres::orders::MODEL).await?.orders;
        let page = orders.of_seller(self.0.user_id, after, size).await?;
        Ok(connection(page, (after, size), Order))
    }

    /// One's offers of licences, newest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn listings(
        &self,
        context: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Listing>, Failure> {
        let (after, size) = place(first, after.as_deref())?;
        let reader = Reader::of(context);
        let listings = &reader.fresh(projections::postgres::listings::MODEL).await?.listings;
        let page = listings.of_seller(self.0.user_id, after, size).await?;
        Ok(connection(page, (after, size), Listing))
    }

    /// One's tracks, drafts among them, the one made last first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn tracks(
        &self,
        context: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Track>, Failure> {
        let (after, size) = place(first, after.as_deref())?;
        let tracks = &Reader::of(context).fresh(tracks::MODEL).await?.tracks;
        let page = tracks.by_artist(self.0.user_id, after, size).await?;
        Ok(connection(page, (after, size), Track))
    }
}
