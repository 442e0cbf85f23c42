//! The accounts against a real PostgreSQL: one holder of a handle and an address, tokens that
//! expire, sign-ups that can be repeated.

use chrono::{DateTime, TimeDelta, Utc};
use command_api::identity::{
    AccountError, Accounts, ConfirmationToken, Email, Handle, Kept, NewAccount, PasswordHash,
};
use event_schemas::UserId;
use futures::future::join_all;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use uuid::Uuid;

async fn accounts() -> Accounts {
    accounts_and_pool().await.0
}

async fn accounts_and_pool() -> (Accounts, PgPool) {
    let url = std::env::var("VEZA_TEST_DATABASE_URL")
        .expect("VEZA_TEST_DATABASE_URL is set: run the tests by `make test`");
    let server: PgConnectOptions = url.parse().expect("a PostgreSQL URL");
    let name = format!("accounts_{}", Uuid::new_v4().simple());
    let mut connection = server.connect().await.expect("PostgreSQL answers");
    sqlx::query(&format!("CREATE DATABASE {name}"))
        .execute(&mut connection)
        .await
        .expect("may make databases");
    connection.close().await.expect("closes");
    let pool = PgPoolOptions::new().max_connections(4);
    let pool = pool.connect_with(server.database(&name)).await.expect("connects");
    (Accounts::open(pool.clone()).await.expect("migrates"), pool)
}

fn account(handle: &str, email: &str) -> NewAccount {
    NewAccount {
        user_id: UserId(Uuid::new_v4()),
        handle: Handle::new(handle).expect("a handle"),
        email: Email::new(email).expect("an address"),
        password: PasswordHash::new("hash".to_owned()),
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

/// The schema as a whole is what has a backup: what was migrated in it is noted in it, is taken
/// along from where it was once noted, and goes with it.
#[tokio::test]
async fn what_was_migrated_is_noted_in_the_schema_itself() {
    let (accounts, pool) = accounts_and_pool().await;
    let nina = account("nina", "nina@example.org");
    accounts.keep(&nina, now()).await.expect("free");
    let noted = async |schema: &str| {
        let noted = "SELECT to_regclass($1 || '._sqlx_migrations') IS NOT NULL";
        let noted = sqlx::query_scalar::<_, bool>(noted).bind(schema).fetch_one(&pool).await;
        noted.expect("is asked")
    };
    assert!(noted("identity").await && !noted("public").await);

    let before = "ALTER TABLE identity._sqlx_migrations SET SCHEMA public";
    sqlx::query(before).execute(&pool).await.expect("as it was once");
    let accounts = Accounts::open(pool.clone()).await.expect("opens");
    assert!(noted("identity").await && !noted("public").await);
    assert!(accounts.by_email(&nina.email).await.expect("is asked").is_some());

    let lost = sqlx::query("DROP SCHEMA identity CASCADE").execute(&pool).await;
    lost.expect("it is gone");
    let accounts = Accounts::open(pool.clone()).await.expect("is made anew");
    assert!(accounts.by_email(&nina.email).await.expect("is asked").is_none());
}

#[tokio::test]
async fn a_handle_and_an_address_have_one_holder() {
    let accounts = accounts().await;
    let nina = account("nina", "nina@example.org");
    accounts.keep(&nina, now()).await.expect("free");
    accounts.keep(&nina, now()).await.expect("a sign-up can be repeated");
    let same_handle = accounts.keep(&account("NINA", "other@example.org"), now()).await;
    assert!(matches!(same_handle, Err(AccountError::HandleTaken)));
    let same_email = accounts.keep(&account("other", "Nina@Example.ORG"), now()).await;
    assert!(matches!(same_email, Err(AccountError::EmailTaken)));
}

#[tokio::test]
async fn of_many_at_once_one_gets_the_handle() {
    let accounts = accounts().await;
    let tries = (0..16).map(|n| {
        let accounts = accounts.clone();
        async move { accounts.keep(&account("nina", &format!("n{n}@example.org")), now()).await }
    });
    let results = futures::future::join_all(tries).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let lost = results.iter().filter(|r| matches!(r, Err(AccountError::HandleTaken))).count();
    assert_eq!(lost, 15);
}

#[tokio::test]
async fn an_address_is_proved_by_a_token_in_time() {
    let accounts = accounts().await;
    let nina = account("nina", "nina@example.org");
    accounts.keep(&nina, now()).await.expect("free");
    let token = accounts.issue_confirmation(nina.user_id, now()).await.expect("issued");
    let late = now() + TimeDelta::hours(25);
    let refused = [(token.clone(), late), (ConfirmationToken::fresh(), now())];
    for (token, at) in refused {
        let outcome = accounts.confirm(&token, at).await;
        assert!(matches!(outcome, Err(AccountError::InvalidToken)));
    }
    let found = accounts.by_email(&nina.email).await.expect("reads").expect("is there");
    assert!(!found.confirmed);
    for _ in 0..2 {
        let who = accounts.confirm(&token, now()).await.expect("in time");
        assert_eq!(who, nina.user_id);
    }
    let found = accounts.by_email(&nina.email).await.expect("reads").expect("is there");
    assert!(found.confirmed && found.user_id == nina.user_id);
}

#[tokio::test]
async fn an_id_stands_for_one_handle_and_address() {
    let accounts = accounts().await;
    let victim = account("victim", "victim@example.org");
    accounts.keep(&victim, now()).await.expect("free");
    let others = [account("nina", "mallory@example.org"), account("nina", "victim@example.org")];
    for other in others {
        let other = NewAccount { user_id: victim.user_id, ..other };
        let outcome = accounts.keep(&other, now()).await;
        assert!(matches!(outcome, Err(AccountError::AnotherSignUp)), "{outcome:?}");
    }
    accounts.keep(&account("nina", "mallory@example.org"), now()).await.expect("both are free");
}

#[tokio::test]
async fn a_sign_up_is_asked_to_confirm_once_while_the_token_is_good() {
    let accounts = accounts().await;
    let nina = account("nina", "Nina@example.org");
    accounts.keep(&nina, now()).await.expect("free");
    let unasked = async |at| accounts.unasked(nina.user_id, at).await.expect("reads");
    let token = accounts.issue_confirmation(nina.user_id, now()).await.expect("issued");
    assert_eq!(unasked(now()).await.expect("not mailed yet"), nina.email);
    accounts.mailed(&token, now()).await.expect("noted");
    assert_eq!(unasked(now()).await, None);
    let late = now() + TimeDelta::hours(25);
    assert!(unasked(late).await.is_some(), "nobody can confirm any more");
    accounts.confirm(&token, now()).await.expect("in time");
    assert_eq!(unasked(late).await, None);
}

#[tokio::test]
async fn a_token_proves_no_other_address_than_it_was_mailed_to() {
    let (accounts, pool) = accounts_and_pool().await;
    let nina = account("nina", "nina@example.org");
    accounts.keep(&nina, now()).await.expect("free");
    let token = accounts.issue_confirmation(nina.user_id, now()).await.expect("issued");
    let change = "UPDATE identity.accounts SET email = $1, email_folded = $1";
    sqlx::query(change).bind("victim@example.org").execute(&pool).await.expect("changes");
    let outcome = accounts.confirm(&token, now()).await;
    assert!(matches!(outcome, Err(AccountError::InvalidToken)), "{outcome:?}");
}

#[tokio::test]
async fn a_database_that_goes_away_is_told_from_one_that_is_wrong() {
    let (accounts, pool) = accounts_and_pool().await;
    let nina = account("nina", "nina@example.org");
    let mut other = pool.acquire().await.expect("connects");
    // As an administrator who stops the server does to every session.
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut seen = Vec::new();
    for _ in 0..20 {
        sqlx::query(cut).execute(&mut *other).await.expect("may");
        if let Err(error) = accounts.keep(&nina, now()).await {
            seen.push(error);
        }
    }
    assert!(seen.iter().all(|e| matches!(e, AccountError::Unavailable(_))), "{seen:?}");
    drop(other);
    pool.close().await;
    let closed = accounts.keep(&nina, now()).await;
    assert!(matches!(closed, Err(AccountError::Unavailable(_))), "{closed:?}");
}

#[tokio::test]
async fn a_handle_and_an_address_can_be_given_back() {
    let accounts = accounts().await;
    let nina = account("nina", "nina@example.org");
    accounts.keep(&nina, now()).await.expect("free");
    let again = account("nina", "other@example.org");
    let before = accounts.holders_before(&again, now()).await.expect("reads");
    assert_eq!(before, [], "a sign-up under way was taken for an old one");
    let later = now() + TimeDelta::minutes(1);
    let holders = accounts.holders_before(&again, later).await.expect("reads");
    assert_eq!(holders, [nina.user_id]);
    // The sign-up is begun once more, just when another would have its handle.
    let kept = accounts.keep(&nina, later).await.expect("it is hers");
    assert_eq!(kept, Kept::Before);
    assert!(!accounts.forget(nina.user_id, later).await.expect("asks"));
    let later = later + TimeDelta::seconds(1);
    assert!(accounts.forget(nina.user_id, later).await.expect("drops"));
    accounts.keep(&again, later).await.expect("free again");
}

#[tokio::test]
async fn a_token_is_mailed_again_for_a_week_and_not_without_end() {
    let accounts = accounts().await;
    let nina = account("nina", "Nina@example.org");
    accounts.keep(&nina, now()).await.expect("free");
    let issued = async |at| {
        let issued = accounts.issue_further_confirmation(&nina.email, at).await.expect("asked");
        issued.map(|(user_id, email, _)| (user_id, email))
    };
    let hers = Some((nina.user_id, nina.email.clone()));
    assert_eq!(issued(now()).await, hers);
    let at_once = join_all((0..20).map(|_| issued(now()))).await;
    let given = at_once.into_iter().flatten().count();
    assert_eq!(given, 4, "five are enough for a day, also of those who ask at once");
    assert_eq!(issued(now()).await, None);
    assert_eq!(issued(now() + TimeDelta::hours(25)).await, hers);
    assert_eq!(issued(now() + TimeDelta::days(7)).await, None, "that is enough for good");
}

#[tokio::test]
async fn an_account_lapses_when_it_can_not_be_confirmed_any_more() {
    let accounts = accounts().await;
    let (lapsed, other) = (account("nina", "nina@example.org"), account("nina", "n@example.org"));
    accounts.keep(&lapsed, now()).await.expect("free");
    let later = now() + TimeDelta::hours(20);
    let token = accounts.issue_confirmation(lapsed.user_id, later).await.expect("issued");
    for hours in [0, 23, 24, 43] {
        let at = now() + TimeDelta::hours(hours);
        assert!(!accounts.drop_lapsed(&other, at).await.expect("asks"), "after {hours} hours");
    }
    assert!(accounts.drop_lapsed(&other, now() + TimeDelta::hours(44)).await.expect("drops"));
    accounts.keep(&lapsed, now()).await.expect("free again");
    let late = accounts.confirm(&token, later).await;
    assert!(matches!(late, Err(AccountError::InvalidToken)), "its tokens went with it");
    let token = accounts.issue_confirmation(lapsed.user_id, now()).await.expect("issued");
    accounts.confirm(&token, now()).await.expect("in time");
    let much_later = now() + TimeDelta::days(400);
    assert!(!accounts.drop_lapsed(&other, much_later).await.expect("asks"), "it is confirmed");
}
