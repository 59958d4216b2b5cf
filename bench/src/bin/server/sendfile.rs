//! One file by `sendfile`, as the response to every request: the limit of what a server can do that sends
//! bytes of a file. A thread per connection.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::Arc,
};

use headwater_bench::Error;

/// Bytes that one call asks for.
const PIECE: usize = 1 << 20;

pub(crate) fn run(file: &Path) -> Result<(), Error> {
    let file = Arc::new(File::open(file)?);
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    crate::announce(listener.local_addr()?);
    for socket in listener.incoming() {
        let (socket, file) = (socket?, Arc::clone(&file));
        std::thread::spawn(move || {
            // A client that disconnects is not an error of the server.
            let _ = serve(socket, &file);
        });
    }
    Ok(())
}

fn serve(mut socket: TcpStream, file: &File) -> Result<(), Error> {
    socket.set_nodelay(true)?;
    let length = file.metadata()?.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let size = socket.read(&mut buffer)?;
        if size == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..size]);
        // The client sends a request when it has the response to the one before.
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        request.clear();
        socket.write_all(head.as_bytes())?;
        let mut at = 0;
        while at < length {
            if rustix::fs::sendfile(&socket, file, Some(&mut at), PIECE)? == 0 {
                return Err("the file became shorter".into());
            }
        }
    }
}
