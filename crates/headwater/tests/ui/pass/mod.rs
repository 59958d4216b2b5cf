mod docs;
mod events;
mod handlers;
