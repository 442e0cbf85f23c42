//! The commerce domain: offers, orders, and the money between buyer and seller.

pub mod amount;
pub mod escrow;
pub mod exclusive;
pub mod listing;
pub mod order;
pub mod payment;

pub use amount::{AMOUNT_MINOR_MAX, AmountError};
pub use escrow::{Escrow, EscrowCommand, EscrowRejection, EscrowStatus};
pub use exclusive::ExclusiveLicence;
pub use listing::{Listing, ListingCommand, ListingRejection};
pub use order::{Order, OrderCommand, OrderRejection, OrderStatus};
pub use payment::{Payment, PaymentCommand, PaymentRejection, PaymentStatus};
