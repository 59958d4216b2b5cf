use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::TryStreamExt as _;
use headwater::{Format, Problem, StatusCode};
use headwater_log::{Expiry, Info, Mark};

use crate::{
    error::{Failure, problem},
    fanout::stream::{Form, Reader, Shape},
    ingest::WatchGuard,
    protocol::read_query::{Lost, Place},
    requests::peer::Peer,
    state::HubState,
};

/// A read of a durable stream from a position to its end, by the fan-out.
pub(super) struct Reading {
    pub(super) reader: Reader,
    pub(super) notice: Notice,
}

/// Information for a client before the first item.
pub(super) enum Notice {
    Nothing,
    /// The position at which the response starts. Only this response can report it.
    Position(Mark),
    /// The response starts over.
    Reset(Lost),
}

impl Reading {
    /// Starts a read at a place, or at the stream's start if the stream doesn't contain that place.
    ///
    /// # Errors
    /// The stream is deleted, or there are too many readers.
    pub(super) async fn new(
        hub: &HubState,
        info: &Info,
        place: Place,
        watch: Option<WatchGuard>,
    ) -> Result<Self, Problem> {
        // The handler knows who sent its request, and the hub only from where.
        let peer = Peer::current();
        let meter = hub.rates.as_ref().map(|rates| rates.meter_of(peer));
        let seat = hub.seat(&meter.unwrap_or_default());
        let seat = seat.map_err(Failure::into_problem)?;
        let shared_bytes = hub.options.limits.shared_bytes;
        let tail = hub.tails.of(&hub.log, info, shared_bytes).await;
        let tail = tail.map_err(problem)?;
        if matches!(info.settings.expiry, Some(Expiry::Idle(_))) {
            hub.log.touch(&info.name).await.map_err(problem)?;
        }
        let found = place.find(info);
        let position = found.as_ref().copied().unwrap_or(info.floor);
        let notice = match found {
            Err(lost) => Notice::Reset(lost),
            Ok(_) if place == Place::Now => Notice::Position(info.at(position)),
            Ok(_) => Notice::Nothing,
        };
        let reader = Reader {
            log: Arc::clone(&hub.log),
            outgoing: hub.outgoing.of(peer),
            name: info.name.clone(),
            shape: Shape::Json,
            form: Form::Items(Format::Ndjson),
            lineage: info.lineage.clone(),
            notice: None,
            position,
            from_start: false,
            tail: Some(tail),
            least_cursor: None,
            until: None,
            _seat: seat,
            _watch: watch,
        };
        Ok(Self { reader, notice })
    }
}

/// Returns the items up to the stream's end, in chunks with their number. If the stream was closed
/// for a reason, the last one is that error.
pub(super) fn frames(
    mut reader: Reader,
    format: Format,
) -> impl Stream<Item = Result<(Bytes, u64), Problem>> + Send + 'static {
    reader.form = Form::Items(format);
    reader
        .into_frames()
        .map_err(|problem| match problem.status() {
            // A client that reconnects would run the stream again.
            StatusCode::GONE => problem.permanent(),
            _ => problem,
        })
}

/// Returns the problem that is reported for a stream that doesn't exist any more.
pub(super) fn gone() -> Problem {
    Problem::new(StatusCode::GONE)
        .detail("the stream was deleted, or has expired")
        .permanent()
}
