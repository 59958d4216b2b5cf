//! Async and blocking clients.
