//! The ports to the outer world, and their adapters.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`payment`] | the port of a payment gateway |
//! | [`sandbox`] | a gateway with a durable ledger of its own, and no money |

pub mod payment;
pub mod sandbox;

pub use payment::{GatewayError, PaymentGateway};
pub use sandbox::SandboxGateway;
