//! The trait's operations.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use headwater_log::machine::{OrderEntry, OrderPlan, Piece, ReadPlan};
use headwater_log::{
    Answer, Append, Block, Chunk, Create, Created, Error, Extent, Follower, Identity, Image, Info,
    Known, Log, Matching, Offset, OrderChunk, OrderFollower, Outcome, Page, Position,
    ProducerImage, ReadFrom, Restore, Restored, StreamName, Usage, limits,
};

use crate::NatsLog;
use crate::engine::Engine;
use crate::format::batch::Op;
use crate::limits::FETCHED;
use crate::located::{Located, Slice};
use crate::replica::{Replica, Reply};

/// Bytes that an operation takes of the queue besides its messages.
const PER_OP: usize = 256;
/// Number of times that a read is planned, if records that it needs are removed meanwhile.
const PLANS: usize = 3;

/// The data of records that a read needs.
type Fetched = HashMap<u64, Bytes>;

impl Engine {
    /// Brings the state up to date, and ends the stream if its expiry has passed.
    async fn fresh(&self, name: &StreamName) -> Result<(), Error> {
        self.sync().await?;
        let now = self.now();
        if self.replica.lock().machine.is_expired(name, now) {
            self.perform(Op::Expire(name.clone()), PER_OP).await?;
        }
        Ok(())
    }

    async fn with<T>(
        &self,
        name: &StreamName,
        read: impl FnOnce(&Replica) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.fresh(name).await?;
        read(&self.replica.lock())
    }

    async fn read(&self, name: &StreamName, from: ReadFrom, budget: usize) -> Result<Chunk, Error> {
        let mut fresh = self.fresh(name).await;
        for _ in 0..PLANS {
            self.check()?;
            let planned = self.replica.lock().machine.read(name, from, budget);
            let mut plan = match (&fresh, planned) {
                (Ok(()), planned) => planned?,
                // Without the cluster, messages that are here can be read, but not where they end.
                (Err(_), Ok(mut plan)) if !plan.pieces.is_empty() => {
                    plan.at_tail = false;
                    plan
                }
                (Err(_), _) => break,
            };
            self.bound(&mut plan);
            let wanted = plan.pieces.iter().flat_map(slices_of);
            let wanted: HashSet<u64> = wanted.map(|slice| slice.sequence).collect();
            if let Some(fetched) = self.records.get(wanted.into_iter().collect()).await? {
                let mut blocks = Vec::new();
                for piece in &plan.pieces {
                    blocks_of(piece, &fetched, &mut blocks)?;
                }
                return Ok(plan.chunk(blocks));
            }
            // Another hub has removed what this one still plans to read.
            if fresh.is_ok() {
                fresh = self.fresh(name).await;
            }
        }
        fresh?;
        Err(missing())
    }

    /// Measures messages. Their sizes are in memory.
    async fn measure(
        &self,
        name: &StreamName,
        from: ReadFrom,
        budget: u64,
    ) -> Result<Extent, Error> {
        let fresh = self.fresh(name).await;
        self.check()?;
        let measured = self.replica.lock().machine.measure(name, from, budget);
        match (fresh, measured) {
            (Ok(()), measured) => measured,
            // As in a read without the cluster.
            (Err(_), Ok(mut extent)) if extent.count() > 0 => {
                extent.at_tail = false;
                Ok(extent)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Shortens a read, so that it fetches a bounded number of records.
    fn bound(&self, plan: &mut ReadPlan<Located>) {
        let end = self.fetchable(plan.pieces.iter().map(slices_of));
        if let Some(next) = plan.pieces.get(end).map(|piece| piece.first) {
            plan.next = next;
            plan.pieces.truncate(end);
            plan.at_tail = false;
        }
    }

    async fn read_order(
        &self,
        from: Position,
        budget: usize,
        matching: Option<Matching>,
    ) -> Result<OrderChunk, Error> {
        let mut synced = self.sync().await;
        for _ in 0..PLANS {
            self.check()?;
            let planned = {
                let replica = self.replica.lock();
                replica.machine.read_order(from, budget, matching.as_ref())
            };
            let mut plan = match (&synced, planned) {
                (Ok(()), planned) => planned?,
                (Err(_), Ok(mut plan)) if plan.next > from => {
                    plan.at_head = false;
                    plan
                }
                (Err(_), _) => break,
            };
            self.bound_order(&mut plan);
            let wanted = plan.entries.iter().flat_map(message_slices);
            let wanted: HashSet<u64> = wanted.map(|slice| slice.sequence).collect();
            if let Some(fetched) = self.records.get(wanted.into_iter().collect()).await? {
                let mut damage = None;
                let chunk = plan.chunk(|entry| {
                    let bytes = message_of(entry, &fetched);
                    bytes.unwrap_or_else(|error| {
                        damage = Some(error);
                        Bytes::new()
                    })
                });
                return damage.map_or(Ok(chunk), Err);
            }
            if synced.is_ok() {
                synced = self.sync().await;
            }
        }
        synced?;
        Err(missing())
    }

    /// Shortens a read, so that it fetches a bounded number of records.
    fn bound_order(&self, plan: &mut OrderPlan<Located>) {
        let end = self.fetchable(plan.entries.iter().map(message_slices));
        if let Some(next) = plan.entries.get(end).map(|entry| entry.position) {
            plan.end_at(next);
        }
    }

    /// Returns the number of pieces that can be read with a bounded number of fetches, at least one. Each
    /// piece is given by its slices of records.
    fn fetchable(&self, pieces: impl Iterator<Item = impl Iterator<Item = Slice>>) -> usize {
        let mut fetched = HashSet::new();
        let fits = pieces.map(|slices| {
            let sequences = slices.map(|slice| slice.sequence);
            fetched.extend(sequences.filter(|sequence| !self.records.has(*sequence)));
            fetched.len() <= FETCHED
        });
        fits.take_while(|fits| *fits).count().max(1)
    }
}

fn missing() -> Error {
    Error::damaged("records that the log refers to are missing in the JetStream stream")
}

fn slices_of(piece: &Piece<Located>) -> impl Iterator<Item = Slice> + use<> {
    let record = &piece.messages;
    let range = piece.range.start + record.first..piece.range.end + record.first;
    record.batch.slices(record.layout.places(range)).into_iter()
}

fn message_slices(entry: &OrderEntry<Located>) -> impl Iterator<Item = Slice> + use<> {
    let record = &entry.messages;
    let place = record.layout.message(record.first + entry.index);
    record.batch.slices(place).into_iter()
}

/// Returns a range of a batch.
fn bytes_of(record: &Located, range: Range<usize>, fetched: &Fetched) -> Result<Bytes, Error> {
    let slices = record.batch.slices(range);
    let data = |slice: &Slice| {
        let data = fetched.get(&slice.sequence);
        let data = data.filter(|data| slice.range.end <= data.len());
        data.map(|data| data.slice(slice.range.clone()))
            .ok_or_else(|| Error::damaged(format!("record {} is too short", slice.sequence)))
    };
    if let [slice] = slices.as_slice() {
        return data(slice);
    }
    let mut all = BytesMut::new();
    for slice in &slices {
        all.extend_from_slice(&data(slice)?);
    }
    Ok(all.freeze())
}

fn message_of(entry: &OrderEntry<Located>, fetched: &Fetched) -> Result<Bytes, Error> {
    let record = &entry.messages;
    let place = record.layout.message(record.first + entry.index);
    bytes_of(record, place, fetched)
}

/// Adds the messages of a piece: as lines if they are stored so.
fn blocks_of(
    piece: &Piece<Located>,
    fetched: &Fetched,
    blocks: &mut Vec<Block>,
) -> Result<(), Error> {
    let record = &piece.messages;
    let range = piece.range.start + record.first..piece.range.end + record.first;
    if record.layout.is_lines() && piece.cut.is_none() {
        let count = u32::try_from(range.len()).map_err(|_| missing())?;
        let data = bytes_of(record, record.layout.places(range), fetched)?;
        blocks.push(Block::of_lines(piece.first, piece.time, count, data));
        return Ok(());
    }
    for (at, index) in (piece.first.number()..).zip(range) {
        let mut bytes = bytes_of(record, record.layout.message(index), fetched)?;
        if let Some(cut) = piece.cut {
            bytes.truncate(cut);
        }
        blocks.push(Block::message(Offset::new(at), piece.time, bytes));
    }
    Ok(())
}

/// An operation's reply is of its kind, as both are made from the same record.
fn mismatch() -> Error {
    Error::damaged("the log answered an operation with the response of another one")
}

impl Log for NatsLog {
    fn create<'a>(&'a self, name: &'a StreamName, create: Create) -> Answer<'a, Created> {
        Box::pin(async move {
            create.check(&self.engine.limits)?;
            let settings = &create.settings;
            let schema = settings.schema.as_ref().map_or(0, Bytes::len);
            let messages: usize = create.messages.iter().map(Bytes::len).sum();
            let bytes = PER_OP + messages + schema + settings.note.len();
            let op = Op::Create(name.clone(), create);
            match self.engine.perform(op, bytes).await? {
                Reply::Created(created) => Ok(*created),
                _ => Err(mismatch()),
            }
        })
    }

    fn append<'a>(&'a self, name: &'a StreamName, append: Append) -> Answer<'a, Outcome> {
        Box::pin(async move {
            append.check(&self.engine.limits)?;
            let bytes = PER_OP + append.bytes();
            let op = Op::Append(name.clone(), append);
            match self.engine.perform(op, bytes).await? {
                Reply::Outcome(outcome) => Ok(outcome),
                _ => Err(mismatch()),
            }
        })
    }

    fn read<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: usize,
    ) -> Answer<'a, Chunk> {
        Box::pin(self.engine.read(name, from, budget))
    }

    fn measure<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: u64,
    ) -> Answer<'a, Extent> {
        Box::pin(self.engine.measure(name, from, budget))
    }

    fn follow<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Follower> {
        Box::pin(async move {
            let fresh = self.engine.fresh(name).await;
            let followed = self.engine.replica.lock().machine.follow(name);
            match (fresh, followed) {
                (Ok(()), followed) => followed,
                // Without the cluster, a stream that is here can be followed.
                (Err(error), Ok(follower)) if error.is_unavailable() => Ok(follower),
                (Err(error), _) => Err(error),
            }
        })
    }

    fn known(&self, name: &StreamName) -> Option<Info> {
        let now = self.engine.now();
        let replica = self.engine.replica.lock();
        let machine = &replica.machine;
        let info = machine.info(name).ok()?;
        (!machine.is_expired(name, now)).then_some(info)
    }

    fn info<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Info> {
        Box::pin(self.engine.with(name, |replica| replica.machine.info(name)))
    }

    fn producer<'a>(
        &'a self,
        name: &'a StreamName,
        producer: &'a str,
    ) -> Answer<'a, Option<Known>> {
        let read = move |replica: &Replica| replica.machine.producer(name, producer);
        Box::pin(self.engine.with(name, read))
    }

    fn image<'a>(&'a self, name: &'a StreamName) -> Answer<'a, (Image, Vec<ProducerImage>)> {
        Box::pin(
            self.engine
                .with(name, |replica| replica.machine.image(name)),
        )
    }

    fn restore<'a>(&'a self, name: &'a StreamName, restore: Restore) -> Answer<'a, Restored> {
        Box::pin(async move {
            restore.check(&self.engine.limits)?;
            let bytes = PER_OP + restore.bytes();
            let op = Op::Restore(name.clone(), restore);
            match self.engine.perform(op, bytes).await? {
                Reply::Restored(restored) => Ok(restored),
                _ => Err(mismatch()),
            }
        })
    }

    fn touch<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()> {
        Box::pin(async move {
            let info = self
                .engine
                .with(name, |replica| replica.machine.info(name))
                .await?;
            // The use of other streams has no effect.
            if matches!(info.settings.expiry, Some(headwater_log::Expiry::Idle(_))) {
                self.engine.perform(Op::Touch(name.clone()), PER_OP).await?;
            }
            Ok(())
        })
    }

    fn delete<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()> {
        Box::pin(async move {
            let op = Op::Delete(name.clone());
            self.engine.perform(op, PER_OP).await.map(|_| ())
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<StreamName>,
        limit: usize,
    ) -> Answer<'a, Page> {
        Box::pin(async move {
            self.engine.sync().await?;
            let (limit, now) = (limit.min(limits::PAGE), self.engine.now());
            let replica = self.engine.replica.lock();
            Ok(replica.machine.list(prefix, after.as_ref(), limit, now))
        })
    }

    fn read_order(
        &self,
        from: Position,
        budget: usize,
        matching: Option<Matching>,
    ) -> Answer<'_, OrderChunk> {
        Box::pin(self.engine.read_order(from, budget, matching))
    }

    fn follow_order(&self) -> OrderFollower {
        OrderFollower::new(self.head.clone())
    }

    fn identity(&self) -> Identity {
        self.engine.cluster.identity
    }

    fn usage(&self) -> Usage {
        self.engine.replica.lock().machine.usage()
    }

    fn writable(&self) -> Result<(), Error> {
        use async_nats::connection::State;
        self.engine.check()?;
        if self.engine.full.load(Ordering::Relaxed) {
            return Err(Error::full(false));
        }
        if self.engine.contact.is_lost() {
            return Err(Error::unavailable("the log's leader doesn't answer"));
        }
        match self.engine.cluster.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => {
                Err(Error::unavailable("no server of the cluster is connected"))
            }
        }
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let was_closed = self.engine.closed.swap(true, Ordering::AcqRel);
            if !was_closed {
                self.finish().await;
            }
            Ok(())
        })
    }
}
