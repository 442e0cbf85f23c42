//! Who has proved who they are, remembered: Argon2 is paid for once, not with each call.
//!
//! What is remembered is a keyed hash of the password together with the very event that keeps the
//! user. That event is read for each call, so whatever changes a user, from whichever side, leaves
//! nothing of what was proved before. The password itself is not kept.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::error::UsersError;
use super::password::{Hasher, Password};
use crate::event::EventId;
use crate::limits::CREDENTIALS_REMEMBERED_MAX;

/// Who has not called for so long proves it again.
const REMEMBERED_SECONDS: u64 = 60 * 60;

type Proof = [u8; blake3::OUT_LEN];

/// What was proved, for as long as it is asked for.
pub(super) struct Credentials {
    hasher: Arc<Hasher>,
    key: [u8; blake3::KEY_LEN],
    proved: Cache<Proof, ()>,
}

impl Credentials {
    pub(super) fn new(hasher: Arc<Hasher>) -> Self {
        let mut key = [0; blake3::KEY_LEN];
        aws_lc_rs::rand::fill(&mut key).expect("the operating system gives random bytes");
        let proved = Cache::builder()
            .max_capacity(CREDENTIALS_REMEMBERED_MAX)
            .time_to_idle(Duration::from_secs(REMEMBERED_SECONDS))
            .build();
        Self { hasher, key, proved }
    }

    /// Whether the password is the one that this event of the user's keeps as a hash. Of calls that
    /// come together, one is computed.
    pub(super) async fn prove(
        &self,
        event: EventId,
        hash: &str,
        password: Password,
    ) -> Result<bool, UsersError> {
        let proof = self.proof(event, hash, &password);
        let proving = async {
            match self.hasher.verify(password, Some(hash.to_owned())).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(UsersError::WrongPassword),
                Err(error) => Err(error),
            }
        };
        match self.proved.try_get_with(proof, proving).await {
            Ok(()) => Ok(true),
            Err(error) => match &*error {
                UsersError::WrongPassword => Ok(false),
                error => Err(error.clone()),
            },
        }
    }

    fn proof(&self, event: EventId, hash: &str, password: &Password) -> Proof {
        let mut proof = blake3::Hasher::new_keyed(&self.key);
        proof.update(event.0.as_bytes());
        proof.update(&(hash.len() as u64).to_le_bytes());
        proof.update(hash.as_bytes());
        proof.update(password.as_ref());
        proof.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn what_was_proved_holds_for_that_event_and_password_alone() {
        let hasher = Arc::new(Hasher::new());
        let tried = |text: &str| Password::new(text).unwrap();
        let hash = hasher.hash(tried("changeit")).await.unwrap();
        let credentials = Credentials::new(hasher);
        let [first, second] = [1, 2].map(|number| EventId(Uuid::from_u128(number)));
        assert!(credentials.prove(first, &hash, tried("changeit")).await.unwrap());
        credentials.proved.run_pending_tasks().await;
        assert_eq!(credentials.proved.entry_count(), 1);
        assert!(credentials.prove(first, &hash, tried("changeit")).await.unwrap());
        assert!(!credentials.prove(first, &hash, tried("changed")).await.unwrap());
        assert!(!credentials.prove(second, "another", tried("changeit")).await.unwrap());
        credentials.proved.run_pending_tasks().await;
        assert_eq!(credentials.proved.entry_count(), 1, "what is wrong is not remembered");
    }
}
