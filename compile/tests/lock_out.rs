//! The kernel as witness: after `lock_out` no socket but a local one opens, on no thread. Runs in a file of its own, since a filter stays.
#![cfg(target_os = "linux")]

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

use kolm_compile::network::{Lock, lock_out};

#[test]
fn the_kernel_refuses_every_socket_but_local_ones() {
    let (start, started) = std::sync::mpsc::channel::<()>();
    let earlier = std::thread::spawn(move || {
        started.recv().expect("told to start");
        UdpSocket::bind("127.0.0.1:0").map(|_| ())
    });
    assert!(UdpSocket::bind("127.0.0.1:0").is_ok(), "before the lock a socket opens");
    match lock_out() {
        Lock::InForce => {}
        Lock::Unavailable(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
        Lock::NotAsked => panic!("it was asked for"),
    }
    start.send(()).expect("a thread waits");
    let refused = [
        ("thread from before", earlier.join().expect("joined")),
        (
            "thread from after",
            std::thread::spawn(|| TcpListener::bind("127.0.0.1:0").map(|_| ())).join().expect("joined"),
        ),
        ("TCP", TcpStream::connect("127.0.0.1:9").map(|_| ())),
        ("IPv6", UdpSocket::bind("[::1]:0").map(|_| ())),
    ];
    for (what, result) in refused {
        assert_eq!(result.expect_err(what).kind(), ErrorKind::PermissionDenied, "{what}");
    }
    assert!(UnixStream::pair().is_ok());
    assert!(std::fs::read("/proc/self/status").is_ok_and(|text| {
        String::from_utf8_lossy(&text).lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2'))
    }));
    let child = std::process::Command::new("cat").arg("/proc/self/status").output().expect("cat runs");
    assert!(String::from_utf8_lossy(&child.stdout).contains("Seccomp:\t2"), "what it starts is locked out too");
}
