//! Operations that a log of the tests leaves to the one that it wraps.

/// Implements operations of `Log` by those of the field `log`.
macro_rules! pass_on {
    ($($operation:ident)+) => { $(pass_on!(@ $operation);)+ };
    (@ create) => {
        fn create<'a>(&'a self, name: &'a headwater_log::StreamName, create: headwater_log::Create) -> headwater_log::Answer<'a, headwater_log::Created> {
            self.log.create(name, create)
        }
    };
    (@ append) => {
        fn append<'a>(&'a self, name: &'a headwater_log::StreamName, append: headwater_log::Append) -> headwater_log::Answer<'a, headwater_log::Outcome> {
            self.log.append(name, append)
        }
    };
    (@ read) => {
        fn read<'a>(
            &'a self,
            name: &'a headwater_log::StreamName,
            from: headwater_log::ReadFrom,
            budget: usize,
        ) -> headwater_log::Answer<'a, headwater_log::Chunk> {
            self.log.read(name, from, budget)
        }
    };
    (@ measure) => {
        fn measure<'a>(
            &'a self,
            name: &'a headwater_log::StreamName,
            from: headwater_log::ReadFrom,
            budget: u64,
        ) -> headwater_log::Answer<'a, headwater_log::Extent> {
            self.log.measure(name, from, budget)
        }
    };
    (@ follow) => {
        fn follow<'a>(&'a self, name: &'a headwater_log::StreamName) -> headwater_log::Answer<'a, headwater_log::Follower> {
            self.log.follow(name)
        }
    };
    (@ info) => {
        fn info<'a>(&'a self, name: &'a headwater_log::StreamName) -> headwater_log::Answer<'a, headwater_log::Info> {
            self.log.info(name)
        }
    };
    (@ producer) => {
        fn producer<'a>(
            &'a self,
            name: &'a headwater_log::StreamName,
            producer: &'a str,
        ) -> headwater_log::Answer<'a, Option<headwater_log::Known>> {
            self.log.producer(name, producer)
        }
    };
    (@ image) => {
        fn image<'a>(&'a self, name: &'a headwater_log::StreamName) -> headwater_log::Answer<'a, (headwater_log::Image, Vec<headwater_log::ProducerImage>)> {
            self.log.image(name)
        }
    };
    (@ restore) => {
        fn restore<'a>(&'a self, name: &'a headwater_log::StreamName, restore: headwater_log::Restore) -> headwater_log::Answer<'a, headwater_log::Restored> {
            self.log.restore(name, restore)
        }
    };
    (@ touch) => {
        fn touch<'a>(&'a self, name: &'a headwater_log::StreamName) -> headwater_log::Answer<'a, ()> {
            self.log.touch(name)
        }
    };
    (@ delete) => {
        fn delete<'a>(&'a self, name: &'a headwater_log::StreamName) -> headwater_log::Answer<'a, ()> {
            self.log.delete(name)
        }
    };
    (@ list) => {
        fn list<'a>(
            &'a self,
            prefix: &'a str,
            after: Option<headwater_log::StreamName>,
            limit: usize,
        ) -> headwater_log::Answer<'a, headwater_log::Page> {
            self.log.list(prefix, after, limit)
        }
    };
    (@ read_order) => {
        fn read_order(
            &self,
            from: headwater_log::Position,
            budget: usize,
            matching: Option<headwater_log::Matching>,
        ) -> headwater_log::Answer<'_, headwater_log::OrderChunk> {
            self.log.read_order(from, budget, matching)
        }
    };
    (@ follow_order) => {
        fn follow_order(&self) -> headwater_log::OrderFollower {
            self.log.follow_order()
        }
    };
    (@ identity) => {
        fn identity(&self) -> headwater_log::Identity {
            self.log.identity()
        }
    };
    (@ usage) => {
        fn usage(&self) -> headwater_log::Usage {
            self.log.usage()
        }
    };
    (@ writable) => {
        fn writable(&self) -> Result<(), headwater_log::Error> {
            self.log.writable()
        }
    };
    (@ close) => {
        fn close(&self) -> headwater_log::Answer<'_, ()> {
            self.log.close()
        }
    };
}
