//! The contract: every domain event with its schema version, upcasters and metadata
