//! The saga orchestrator, the sagas, and the activities by which they reach the outer world
