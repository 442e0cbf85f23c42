//! The event store: the port, the embedded engine, the EventStoreDB gRPC server and the client adapter
