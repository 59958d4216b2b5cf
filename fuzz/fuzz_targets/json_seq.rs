#![no_main]

use headwater_fuzz::any_chunking_means_the_same;
use headwater_wire::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| any_chunking_means_the_same(Format::JsonSeq, input));
