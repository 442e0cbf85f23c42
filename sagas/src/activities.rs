//! The ports to the outer world, and their adapters.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`encoder`] | the port of what makes a stream of a master, and its adapter |
//! | [`payment`] | the port of a payment gateway |
//! | [`sandbox`] | a gateway with a durable ledger of its own, and no money |
//! | `turns` | whose turn it is at work of which only so much is done at once |

pub mod encoder;
pub mod payment;
pub mod sandbox;
mod turns;

pub use encoder::{Encoder, EncoderError, MediaEncoder};
pub use payment::{GatewayError, PaymentGateway};
pub use sandbox::SandboxGateway;
