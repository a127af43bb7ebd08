//! The server by tokio: one thread, a task a connection, each with a buffer that holds twice the longest message, so that it sees
//! from a short read that there is no more.

use std::net::TcpListener;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

const BUFFER_LEN: usize = 32 * 1024;

pub(crate) fn serve(listener: TcpListener) {
    let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a socket can be that");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(echo(stream));
        }
    });
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; BUFFER_LEN];
    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}
