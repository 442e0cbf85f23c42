//! A payment gateway without money: deterministic, with a durable ledger of its own.
//!
//! It stands where an outer party stands, so it keeps its own record in its own file and trusts
//! nothing that the platform remembers. The payment method chooses how it behaves.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use event_schemas::{Currency, OrderId};
use tokio::task;

use crate::activities::payment::{
    Authorise, GatewayError, Outcome, PayOut, PaymentGateway, Receipt, Settle,
};
use crate::orchestrator::IdempotencyKey;

mod book_file;
mod ledger;
mod mode;

pub use book_file::OpenError;
pub use ledger::{Account, Entry, Ledger, Posting, Request};
pub use mode::Mode;

use book_file::BookFile;

/// The sandbox.
#[derive(Clone)]
pub struct SandboxGateway {
    books: Arc<Mutex<Books>>,
}

struct Books {
    ledger: Ledger,
    file: BookFile,
}

impl SandboxGateway {
    /// Opens the ledger in this file, or begins one.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (file, ledger) = BookFile::open(path)?;
        let books = Arc::new(Mutex::new(Books { ledger, file }));
        Ok(Self { books })
    }

    /// Reads the ledger in a file as far as it is written, beside the process that keeps it.
    pub fn audit(path: &Path) -> Result<Ledger, OpenError> {
        let (ledger, _) = book_file::read_books(&std::fs::read(path)?)?;
        Ok(ledger)
    }

    /// Whether nothing was ever booked.
    pub fn is_empty(&self) -> bool {
        self.lock().ledger.entries().is_empty()
    }

    /// The entries of an order, from old to new.
    pub fn entries(&self, order_id: OrderId) -> Vec<Entry> {
        self.lock().ledger.entries_of(order_id)
    }

    /// What is on an account, in minor units of the currency.
    pub fn balance(&self, account: Account, currency: Currency) -> i128 {
        self.lock().ledger.balance(account, currency)
    }

    /// The books as they are now.
    pub fn ledger(&self) -> Ledger {
        self.lock().ledger.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        // The books change only after the file has, and at once: they are whole even then.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, key: IdempotencyKey, request: Request) -> Result<Receipt, GatewayError> {
        let asked = request.clone();
        let mode = self.in_books(move |books| books.ledger.mode(&asked)).await?;
        let mode = mode.map_err(|reason| match request {
            Request::Authorise { .. } => GatewayError::Declined { reason },
            _ => GatewayError::NotPossible { reason },
        })?;
        if let Mode::Slow(wait) = mode {
            tokio::time::sleep(wait).await;
        }
        let (outcome, new) = self.book(key, request.clone()).await?;
        let outcome = match mode {
            Mode::Duplicate => self.book(key, request).await?.0,
            Mode::ChargedThenTimeout if new => return Err(GatewayError::Timeout),
            _ => outcome,
        };
        match outcome {
            Outcome::Done(receipt) => Ok(receipt),
            Outcome::Declined(reason) => Err(GatewayError::Declined { reason }),
        }
    }

    /// Carries a request out, or finds that it was; tells which.
    async fn book(
        &self,
        key: IdempotencyKey,
        request: Request,
    ) -> Result<(Outcome, bool), GatewayError> {
        self.in_books(move |books| books.book(key, request)).await?
    }

    /// Looks into the books on a thread that may wait: they are kept while an entry is synced.
    async fn in_books<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Books) -> T + Send + 'static,
    ) -> Result<T, GatewayError> {
        let this = self.clone();
        let looked = task::spawn_blocking(move || look(&mut this.lock()));
        looked.await.map_err(|error| GatewayError::Unavailable { reason: error.to_string() })
    }
}

impl Books {
    fn book(
        &mut self,
        key: IdempotencyKey,
        request: Request,
    ) -> Result<(Outcome, bool), GatewayError> {
        if let Some(entry) = self.ledger.find(key) {
            // Given up, it is declined whatever it was; done, giving it up only tells what it was.
            let given_up = |request: &Request| matches!(request, Request::GiveUp { .. });
            if entry.request != request && !given_up(&entry.request) && !given_up(&request) {
                return Err(GatewayError::KeyReused);
            }
            return Ok((entry.outcome.clone(), false));
        }
        let entry = self.ledger.draft(key, request);
        let entry = entry.map_err(|reason| GatewayError::NotPossible { reason })?;
        let written = self.file.append(&entry);
        written.map_err(|error| GatewayError::Unavailable { reason: error.to_string() })?;
        let outcome = entry.outcome.clone();
        self.ledger.enter(entry);
        Ok((outcome, true))
    }
}

#[async_trait]
impl PaymentGateway for SandboxGateway {
    async fn authorise(&self, request: Authorise) -> Result<Receipt, GatewayError> {
        let asked = Request::Authorise {
            order_id: request.order_id,
            buyer_id: request.buyer_id,
            amount: request.amount,
            payment_method: request.payment_method,
        };
        self.ask(request.key, asked).await
    }

    async fn capture(&self, request: Settle) -> Result<Receipt, GatewayError> {
        let reference = request.reference;
        self.ask(request.key, Request::Capture { reference }).await
    }

    async fn void(&self, request: Settle) -> Result<Receipt, GatewayError> {
        let reference = request.reference;
        self.ask(request.key, Request::Void { reference }).await
    }

    async fn pay_out(&self, request: PayOut) -> Result<Receipt, GatewayError> {
        let asked = Request::PayOut { reference: request.reference, seller_id: request.seller_id };
        self.ask(request.key, asked).await
    }

    async fn find(&self, key: IdempotencyKey) -> Result<Option<Outcome>, GatewayError> {
        self.in_books(move |books| books.ledger.find(key).map(|entry| entry.outcome.clone())).await
    }

    async fn give_up(
        &self,
        key: IdempotencyKey,
        order_id: OrderId,
    ) -> Result<Option<Outcome>, GatewayError> {
        let (outcome, new) = self.book(key, Request::GiveUp { order_id }).await?;
        let given_up = outcome == Outcome::Declined(ledger::GIVEN_UP.to_owned());
        Ok((!new && !given_up).then_some(outcome))
    }
}

#[cfg(test)]
mod tests;
