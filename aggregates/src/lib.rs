//! The write side of the domains: aggregates with their commands and decisions
