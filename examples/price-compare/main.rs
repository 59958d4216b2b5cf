//! A page that asks fifty shops for a price at once and shows each answer as it arrives.
//! `cargo run --release --example price_compare`
//!
//! One handler does it. The calls are a [gather](headwater_client::gather), and their results are a
//! durable stream: a reload or a second tab shows the same run, and no shop is called twice for it.
//! Without `--shops`, stand-ins in this program [act as the shops](shops).

mod shops;

use std::{error::Error, io, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderName, Method, header::CONTENT_SECURITY_POLICY},
    middleware::{Next, from_fn},
    response::{Html, IntoResponse as _, Response},
};
use clap::{Parser, Subcommand};
use futures_util::{StreamExt as _, stream};
use headwater::{App, Path, Problem, Query, StatusCode, get};
use headwater_client::{
    gather,
    gather::{Call, GatherResult},
};
use headwater_hub::{Cors, Durable, Hub, Options};
use headwater_log::{DiskLog, DiskOptions, Log};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, time::timeout};

/// Time limit for a shop, including retries.
const PATIENCE: Duration = Duration::from_secs(6);
/// Time that a run continues without readers.
const KEEP: Duration = Duration::from_secs(60);

/// Ask fifty shops for a price at once.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Address and port to listen at. With port 0, the system selects a port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: String,
    /// Folder for the runs
    #[arg(long, value_name = "FOLDER", default_value = "price-compare-data")]
    data: PathBuf,
    /// URL of the shops, up to /shops/0/price?item=. Without it, built-in stand-ins answer
    #[arg(long, value_name = "URL")]
    shops: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run only the stand-ins: shops for --shops
    Shops {
        /// Address and port to listen at. With port 0, the system selects a port
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8001")]
        listen: String,
    },
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    match args.command {
        Some(Command::Shops { listen }) => headwater::serve(shops::app(), listen)
            .on_bound(|address| eprintln!("listening on {address}"))
            .await
            .map_err(Into::into),
        None => serve(args).await,
    }
}

async fn serve(args: Args) -> Result<(), Box<dyn Error>> {
    let shops = match args.shops {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => start_shops().await?,
    };
    let log: Arc<dyn Log> = Arc::new(DiskLog::open(args.data, DiskOptions::default())?);
    let hub = Hub::with_options(Arc::clone(&log), Options::new().cors(Cors::Off).private());
    hub.start();
    headwater::serve(app(&hub, shops), args.listen)
        .on_bound(|address| eprintln!("listening on {address}"))
        .await?;
    // Runs in progress are closed with the results so far.
    let _ = timeout(Duration::from_secs(2), hub.stop()).await;
    log.close().await?;
    Ok(())
}

/// Starts the stand-ins in this program, on their own port. Returns their URL.
async fn start_shops() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    // The address to print is the page's.
    let server = headwater::serve(shops::app(), listener).on_bound(|_| {});
    tokio::spawn(async move { server.await });
    Ok(url)
}

/// State shared by the handlers.
struct Comparer {
    hub: Hub,
    shops: String,
}

fn app(hub: &Hub, shops: String) -> App {
    App::new("Prices compared", env!("CARGO_PKG_VERSION"))
        .description(
            "Asks fifty shops for the price of a thing, and tells of each answer as it comes.",
        )
        .license("MIT or Apache 2.0", "MIT OR Apache-2.0")
        .route("/", get(page))
        .route("/runs/{run}", get(compare))
        .with_state(Arc::new(Comparer {
            hub: hub.clone(),
            shops,
        }))
        .merge(
            // The runs' streams, for direct readers.
            hub.app()
                .without_docs()
                .into_router()
                .layer(from_fn(only_reading)),
        )
}

/// An event of a run.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum News {
    /// The first item: the requested item and the number of shops.
    Begun { item: String, shops: usize },
    /// A shop has the item.
    Offer {
        shop: String,
        cents: u64,
        #[serde(flatten)]
        effort: Effort,
    },
    /// A shop has no offer.
    Nothing {
        shop: String,
        why: String,
        #[serde(flatten)]
        effort: Effort,
    },
}

/// The cost of an answer.
#[derive(Serialize, JsonSchema)]
struct Effort {
    /// Duration in milliseconds.
    ms: u128,
    /// Number of calls of the shop.
    attempts: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct Run(#[schemars(regex(pattern = "^[A-Za-z0-9-]{1,64}$"))] String);

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// The requested item.
    #[schemars(length(min = 1, max = 200))]
    item: String,
}

/// Compares prices.
///
/// The first request for a run starts it, under a name that the client chooses. All others, and the
/// same client after a reload, receive the results so far and then each new one. The run continues
/// for a minute without readers.
#[headwater::operation]
async fn compare(
    State(comparer): State<Arc<Comparer>>,
    Path(Run(run)): Path<Run>,
    Query(Wanted { item }): Query<Wanted>,
) -> Result<Durable<News>, Problem> {
    let calls = calls(&comparer.shops, &item);
    let begun = News::Begun {
        shops: calls.len(),
        item,
    };
    // All at once. A shop that answers "later" is called again at the time that it names. The calls
    // start when the stream is first read.
    let results = gather(calls)
        .concurrency(shops::SHOPS)
        .per_host(shops::SHOPS)
        .timeout(PATIENCE)
        .retries(2)
        .send()
        .map_err(Problem::internal)?;
    comparer
        .hub
        .durable(format!("runs/{run}"))
        .keep_for(KEEP)
        .run(|| stream::iter([begun]).chain(results.map(News::from)))
        .await
}

/// Returns one call for each shop.
fn calls(shops: &str, item: &str) -> Vec<Call> {
    let item: String = form_urlencoded::byte_serialize(item.as_bytes()).collect();
    (0..shops::SHOPS)
        .map(|shop| {
            Call::get(format!("{shops}/shops/{shop}/price?item={item}")).key(shops::name(shop))
        })
        .collect()
}

impl From<GatherResult> for News {
    fn from(result: GatherResult) -> Self {
        #[derive(Deserialize)]
        struct Price {
            cents: u64,
        }
        let effort = Effort {
            ms: result.timing.total.as_millis(),
            attempts: result.attempts,
        };
        let shop = result.key.unwrap_or(result.url);
        let price = result.outcome.and_then(|answer| answer.json::<Price>());
        match price {
            Ok(Price { cents }) => Self::Offer {
                shop,
                cents,
                effort,
            },
            Err(error) => Self::Nothing {
                shop,
                why: why(&error),
                effort,
            },
        }
    }
}

/// Explains to a customer that there is no price.
fn why(error: &headwater_client::Error) -> String {
    let detail = error.problem().and_then(|problem| problem.detail());
    match (detail, error.status()) {
        (Some(detail), _) => detail.to_owned(),
        (None, Some(status)) => format!("answers {status}"),
        (None, None) if error.is_timeout() => format!("no answer in {} s", PATIENCE.as_secs()),
        (None, None) if error.is_deserialize() => "what it says is no price".to_owned(),
        (None, None) => error.to_string(),
    }
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
        .detail("the streams of the runs are written by the runs alone")
        .into_response()
}

#[cfg(test)]
mod tests;
