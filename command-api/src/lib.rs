//! The command endpoints over HTTP
