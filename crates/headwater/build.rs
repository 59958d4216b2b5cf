//! Compresses the script of the API reference, which is a sixth of a binary otherwise.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "docs")]
    docs::compress();
}

#[cfg(feature = "docs")]
mod docs {
    use std::{env, fs, io::Write as _, path::Path};

    use flate2::{Compression, write::GzEncoder};

    /// Makes V8 compile all functions of the script on a background thread while it loads. Without
    /// it, each function is parsed and compiled on the page's main thread at its first call, which
    /// takes twice as long.
    const COMPILE_HINT: &[u8] = b"//# allFunctionsCalledOnLoad\n";

    pub(super) fn compress() {
        let script = scalar_api_reference::get_asset("scalar.js").expect("the crate bundles it");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder
            .write_all(COMPILE_HINT)
            .and_then(|()| encoder.write_all(&script))
            .expect("memory accepts it");
        let compressed = encoder.finish().expect("memory accepts it");
        let folder = env::var_os("OUT_DIR").expect("cargo sets it");
        fs::write(Path::new(&folder).join("scalar.js.gz"), compressed).expect("it can be written");
    }
}
