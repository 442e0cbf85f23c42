//! The command endpoints over HTTP.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`identity`] | who people are: addresses, passwords, one-time tokens |

pub mod identity;
