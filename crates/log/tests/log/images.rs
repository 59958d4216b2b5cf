//! The image of a stream while it is appended to.

use std::sync::Arc;

use headwater_log::{Append, Clock, DiskLog, Limits, Log};

use crate::support::{START, name, options, plain, quick_folder};

#[test]
fn an_image_has_the_producers_of_its_tail() {
    let folder = quick_folder();
    let clock = Clock::by_hand(START);
    let log = DiskLog::open(folder.path(), options(&clock, Limits::default()));
    let log = Arc::new(log.unwrap());
    let stream = name("s");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        log.create(&stream, plain()).await.unwrap();
        let writers = (0..4).map(|writer: u64| {
            let (log, stream) = (Arc::clone(&log), stream.clone());
            tokio::spawn(async move {
                let id = format!("p{writer}");
                for seq in 0..300 {
                    let append = Append::new(vec!["m".into()]).by(&id, 0, seq);
                    log.append(&stream, append).await.unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let mut seen = 0;
        while writers.iter().any(|writer| !writer.is_finished()) {
            let (image, producers) = log.image(&stream).await.unwrap();
            let messages: u64 = producers.iter().map(|it| it.published.messages).sum();
            assert_eq!(messages, image.tail().at.number());
            seen += 1;
        }
        assert!(seen > 1, "no image was taken between appends");
        for writer in writers {
            writer.await.unwrap();
        }
    });
}
