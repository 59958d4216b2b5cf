//! Durable streams by URL: publish with `POST`, follow from anywhere, live, late or after a break.
