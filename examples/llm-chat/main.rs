//! A web chat whose answers outlive the page that requested them.
//! `cargo run --release --example llm_chat`
//!
//! A chat is a durable stream, and so is each answer: the hub, which is part of this program,
//! relays it from an OpenAI-compatible endpoint. A reload, a second tab, even `kill -9` and a
//! restart show the same chat, and the endpoint is called only once. Without `--upstream`, a
//! [stand-in](stand_in) acts as the endpoint.

mod chat;
mod stand_in;

use std::{error::Error, io, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    extract::Request,
    http::{HeaderName, Method, header::CONTENT_SECURITY_POLICY},
    middleware::{Next, from_fn},
    response::{Html, IntoResponse as _, Response},
};
use clap::{Parser, Subcommand};
use headwater::{App, Problem, StatusCode, get, post, put};
use headwater_client::Egress;
use headwater_hub::{Cors, Hub, Options};
use headwater_log::{DiskLog, DiskOptions, Log};
use tokio::{net::TcpListener, time::timeout};

use chat::{Chats, Model};

/// A web chat whose answers outlive the page that requested them.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Address and port to listen at. With port 0, the system selects a port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: String,
    /// Folder for the chats
    #[arg(long, value_name = "FOLDER", default_value = "llm-chat-data")]
    data: PathBuf,
    /// URL of an OpenAI-compatible endpoint, up to /v1/chat/completions. Its key is read from
    /// `OPENAI_API_KEY`. Without it, a built-in stand-in answers
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Model to call
    #[arg(long, value_name = "NAME", default_value = "gpt-4o-mini")]
    model: String,
    /// Speed of the stand-in
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tokens_per_second: u32,
}

#[derive(Subcommand)]
enum Command {
    /// Run only the stand-in: an endpoint for --upstream
    StandIn {
        /// Address and port to listen at. With port 0, the system selects a port
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8001")]
        listen: String,
        /// Speed of the answers
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        tokens_per_second: u32,
    },
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    match args.command {
        Some(Command::StandIn {
            listen,
            tokens_per_second,
        }) => headwater::serve(stand_in::app(tokens_per_second), listen)
            .on_bound(|address| eprintln!("listening on {address}"))
            .await
            .map_err(Into::into),
        None => serve(args).await,
    }
}

async fn serve(args: Args) -> Result<(), Box<dyn Error>> {
    let upstream = match args.upstream {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => start_stand_in(args.tokens_per_second).await?,
    };
    let model = Model {
        url: format!("{upstream}/v1/chat/completions"),
        key: std::env::var("OPENAI_API_KEY").ok(),
        name: args.model,
    };
    let log: Arc<dyn Log> = Arc::new(DiskLog::open(args.data, DiskOptions::default())?);
    let hub = hub(Arc::clone(&log), &model)?;
    hub.start();
    headwater::serve(app(&hub, Arc::clone(&log), model), args.listen)
        .on_bound(|address| eprintln!("listening on {address}"))
        .await?;
    // Answers in progress are closed with the text so far.
    let _ = timeout(Duration::from_secs(2), hub.stop()).await;
    log.close().await?;
    Ok(())
}

/// Starts the stand-in in this program, on its own port. Returns its URL.
async fn start_stand_in(tokens_per_second: u32) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    // The address to print is the page's.
    let server = headwater::serve(stand_in::app(tokens_per_second), listener).on_bound(|_| {});
    tokio::spawn(async move { server.await });
    Ok(url)
}

/// Creates the hub that stores the chats. It may call only the model's endpoint, and only our own
/// page may use it.
fn hub(log: Arc<dyn Log>, model: &Model) -> Result<Hub, Box<dyn Error>> {
    // The operator configures the upstream, whose name may resolve to an address of a private
    // network.
    const OWN: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];
    let upstreams = Egress::allow(OWN.into_iter().chain([model.url.as_str()]))?;
    let options = Options::new()
        .upstreams(upstreams)
        .cors(Cors::Off)
        .private();
    Ok(Hub::with_options(log, options))
}

fn app(hub: &Hub, log: Arc<dyn Log>, model: Model) -> App {
    App::new("A chat", env!("CARGO_PKG_VERSION"))
        .description(
            "A web chat. What is in a chat, and what is answered, is read from its streams: \
             `GET /streams/chats/{chat}` has the entries, each of which is described at `POST`, and an entry \
             of the type `answer` has the path of the stream of what the model says.",
        )
        .license("MIT or Apache 2.0", "MIT OR Apache-2.0")
        .route("/", get(page))
        .route("/chats/{chat}", put(chat::open))
        .route("/chats/{chat}/messages", post(chat::ask))
        .route("/chats/{chat}/messages/{message}/again", post(chat::again))
        .route("/chats/{chat}/answers/{answer}/stop", post(chat::stop))
        .with_state(Arc::new(Chats::new(hub.clone(), log, model)))
        .merge(
            // Writes go through the handlers above.
            hub.app()
                .without_docs()
                .into_router()
                .layer(from_fn(only_reading)),
        )
}

/// The page: a single file that contacts no other host.
#[headwater::operation]
async fn page() -> ([(HeaderName, &'static str); 1], Html<&'static str>) {
    const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; \
        style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    (
        [(CONTENT_SECURITY_POLICY, POLICY)],
        Html(include_str!("page.html")),
    )
}

async fn only_reading(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    Problem::new(StatusCode::METHOD_NOT_ALLOWED)
        .detail("the streams of the chats are written by the chat alone")
        .into_response()
}

#[cfg(test)]
mod tests;
