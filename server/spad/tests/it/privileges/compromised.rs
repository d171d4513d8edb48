//! A compromised engine, played by a process that enters the sandbox as the engine does and
//! tries to get out by every way that is known to us.
//!
//! What a test calls refused must have worked before the sandbox, so that it can fail.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::process::Pid;
use spa_proto::Timestamp;
use spad::audit::file::AuditLog;
use spad_capture::{Capture, CaptureOptions, RING_FRAMES};
use spad_engine::audit::event::{AuditEvent, Event};
use spad_model::{CarrierSet, Ports};
use spad_sandbox::{AllowedPaths, Identity};
use spad_sys::{netns, packet_socket, probe};

use super::{assert_passes, depth, nobody, rerun};

/// Where frames into `lo` are sent to.
const PORT: u16 = 4444;

/// `lo` of every network.
const LO: u32 = 1;

/// Calls that need no argument to be told from refused ones.
const CALLS: &[(&str, libc::c_long)] = &[
    ("shmget", libc::SYS_shmget),
    ("semget", libc::SYS_semget),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("io_setup", libc::SYS_io_setup),
    ("splice", libc::SYS_splice),
    ("tee", libc::SYS_tee),
    ("vmsplice", libc::SYS_vmsplice),
    ("sendfile", libc::SYS_sendfile),
    ("sendmsg", libc::SYS_sendmsg),
    ("sendmmsg", libc::SYS_sendmmsg),
    ("listen", libc::SYS_listen),
    ("memfd_create", libc::SYS_memfd_create),
    ("execve", libc::SYS_execve),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("bpf", libc::SYS_bpf),
    ("kcmp", libc::SYS_kcmp),
    ("inotify_init1", libc::SYS_inotify_init1),
    ("fsopen", libc::SYS_fsopen),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fspick", libc::SYS_fspick),
    ("move_mount", libc::SYS_move_mount),
    ("open_tree", libc::SYS_open_tree),
    ("mount_setattr", libc::SYS_mount_setattr),
];

/// A network of the calling thread's own, whose `lo` is up.
fn own_network() {
    netns::unshare_network().unwrap();
    let up = [
        "-c",
        "ip link set lo up && ip address add 10.9.9.1/24 dev lo",
    ];
    assert!(Command::new("sh").args(up).status().unwrap().success());
}

fn options() -> CaptureOptions {
    CaptureOptions {
        carriers: CarrierSet::udp(Ports::one(62201.try_into().unwrap())),
        interfaces: None,
        ring_frames: RING_FRAMES,
    }
}

/// Enters the sandbox as the engine does, seeing this directory alone.
fn enter(directory: &Path) {
    let user = nobody();
    let identity = Identity {
        uid: user.uid,
        gid: user.gid,
        stand_in: true,
    };
    let visible = AllowedPaths {
        read: Vec::new(),
        write: vec![directory.to_owned()],
    };
    spad_sandbox::enter(&identity, &visible).unwrap();
}

#[track_caller]
fn refused(what: &str, result: io::Result<()>) {
    let kind = result.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::PermissionDenied), "{what}");
}

/// Not refused by a sandbox, whatever else it says.
#[track_caller]
fn not_refused(what: &str, result: io::Result<()>) {
    if let Err(error) = result {
        assert_ne!(error.kind(), ErrorKind::PermissionDenied, "{what}");
    }
}

/// A UDP datagram to [`PORT`] in an IPv4 packet, both of which nobody sent.
fn forged_packet(text: &[u8]) -> Vec<u8> {
    let length = |head: usize| u16::try_from(head + text.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend(length(28));
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 9, 2, 10, 9, 9, 1]);
    let halves = packet
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | u32::from(two[1]));
    let sum: u32 = halves.sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(9_u16.to_be_bytes());
    packet.extend(PORT.to_be_bytes());
    packet.extend(length(8));
    packet.extend([0, 0]);
    packet.extend(text);
    packet
}

/// What came within a moment.
fn receive(receiver: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 64];
    let length = receiver.recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

fn directory() -> PathBuf {
    let directory = tempfile::tempdir().unwrap().keep();
    let user = nobody();
    std::os::unix::fs::chown(&directory, Some(user.uid), Some(user.gid)).unwrap();
    directory
}

#[test]
fn no_frame_leaves_by_a_packet_socket() {
    if depth().is_empty() {
        return assert_passes(rerun("1"));
    }
    own_network();
    let receiver = UdpSocket::bind(("10.9.9.1", PORT)).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut captures = vec![Capture::open(&options()).unwrap()];
    captures.extend(Capture::open_fanout_group(&options(), 2).unwrap());
    for capture in &captures {
        probe::send_frame(capture.as_fd(), LO, &forged_packet(b"before")).unwrap();
        assert_eq!(receive(&receiver).unwrap(), b"before");
    }
    let directory = directory();
    enter(&directory);
    // Capabilities that are gone keep no frame in.
    for capture in &captures {
        probe::send_frame(capture.as_fd(), LO, &forged_packet(b"without")).unwrap();
        assert_eq!(receive(&receiver).unwrap(), b"without");
    }
    assert!(spad_sandbox::deny_syscalls().unwrap());
    for capture in &captures {
        assert_confined(capture.as_fd());
    }
    assert_eq!(receive(&receiver), None);
    drop(captures);
    std::fs::remove_dir_all(&directory).unwrap_or_default();
}

fn assert_confined(socket: BorrowedFd<'_>) {
    let frame = forged_packet(b"after");
    refused("sendto", probe::send_frame(socket, LO, &frame));
    refused("bind", probe::bind_to(socket, LO));
    let message = rustix::net::sendmsg(
        socket,
        &[io::IoSlice::new(&frame)],
        &mut rustix::net::SendAncillaryBuffer::default(),
        SendFlags::empty(),
    );
    refused("sendmsg", message.map(drop).map_err(Into::into));
    let smaller = sockopt::set_socket_send_buffer_size(socket, 4096);
    refused("setsockopt", smaller.map_err(Into::into));
    refused("a filter", packet_socket::attach_filter(socket, &[]));
    // These carry no address, and the socket is bound to no interface.
    let nowhere = |what: &str, result: rustix::io::Result<usize>| {
        assert_eq!(result, Err(rustix::io::Errno::NXIO), "{what}");
    };
    nowhere("write", rustix::io::write(socket, &frame));
    let parts = [io::IoSlice::new(&frame)];
    nowhere("writev", rustix::io::writev(socket, &parts));
    nowhere(
        "send",
        rustix::net::send(socket, &frame, SendFlags::empty()),
    );
    // Another number for the same socket changes nothing.
    let other = rustix::io::dup(socket).unwrap();
    nowhere(
        "write, by another number",
        rustix::io::write(&other, &frame),
    );
    refused(
        "sendto, by another number",
        probe::send_frame(other.as_fd(), LO, &frame),
    );
}

#[test]
fn no_socket_reaches_anybody_and_no_program_runs() {
    if depth().is_empty() {
        return assert_passes(rerun("1"));
    }
    let directory = directory();
    let path = directory.join("datagrams");
    let listener = UnixDatagram::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    rustix::fs::chmod(&path, rustix::fs::Mode::from_bits_truncate(0o777)).unwrap();
    let pair = || {
        let (one, _other) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        one
    };
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    let by_path = |text: &[u8]| -> io::Result<()> {
        rustix::net::sendto(pair(), text, SendFlags::empty(), &address)?;
        Ok(())
    };
    by_path(b"before").unwrap();
    assert_eq!(listener.recv(&mut [0; 64]).unwrap(), 6);
    // A thread that was there before is held to it too.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let before = std::thread::spawn(move || {
        gone.recv().unwrap();
        UdpSocket::bind("127.0.0.1:0").map(drop)
    });
    drop(UdpSocket::bind("127.0.0.1:0").unwrap());
    enter(&directory);
    by_path(b"sandbox").unwrap();
    assert_eq!(listener.recv(&mut [0; 64]).unwrap(), 7);
    assert!(spad_sandbox::deny_syscalls().unwrap());
    go.send(()).unwrap();
    refused("a socket, in an older thread", before.join().unwrap());
    refused("a local socket", UnixDatagram::unbound().map(drop));
    refused("a packet by path", by_path(b"after"));
    let connected = rustix::net::connect(pair(), &address);
    refused("connect", connected.map_err(Into::into));
    let bound = rustix::net::bind(pair(), &rustix::net::SocketAddrUnix::new_unnamed());
    refused("bind", bound.map_err(Into::into));
    assert_eq!(
        listener.recv(&mut [0; 64]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    refused("a program", Command::new("/bin/true").status().map(drop));
    // What the engine goes on with.
    assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
    let (mut one, mut other) = UnixStream::pair().unwrap();
    one.write_all(b"x").unwrap();
    io::Read::read_exact(&mut other, &mut [0]).unwrap();
}

#[test]
fn it_makes_no_code_and_no_namespace_and_is_closed_to_others() {
    if depth().is_empty() {
        return assert_passes(rerun("1"));
    }
    for (what, call) in CALLS {
        not_refused(what, probe::syscall_with_zeros(*call));
    }
    probe::map_executable().unwrap();
    probe::make_executable().unwrap();
    let directory = directory();
    let mut neighbour = neighbour();
    let pid = Pid::from_child(&neighbour);
    enter(&directory);
    // The kernel's own W^X, where it has it (6.3), and before any filter.
    assert_eq!(probe::map_executable().is_err(), has_mdwe());
    assert!(spad_sandbox::deny_syscalls().unwrap());
    for (what, call) in CALLS {
        refused(what, probe::syscall_with_zeros(*call));
    }
    // By the filter, whatever the kernel's own W^X says (EACCES).
    for (what, result) in [
        ("an executable page", probe::map_executable()),
        ("a page made executable", probe::make_executable()),
    ] {
        let error = result.map_err(|error| error.raw_os_error());
        assert_eq!(error, Err(Some(libc::EPERM)), "{what}");
    }
    refused("becoming dumpable", probe::set_dumpable());
    let signal = rustix::process::test_kill_process(pid);
    refused("a signal", signal.map_err(Into::into));
    if let Some(called) = probe::x32_syscall() {
        refused("another table of calls", called);
    }
    #[expect(
        deprecated,
        reason = "the other form is unsafe to call; this one is refused"
    )]
    let unshared = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWUSER);
    refused("a namespace", unshared.map_err(Into::into));
    for memory in ["/proc/self/mem".to_owned(), format!("/proc/{pid}/mem")] {
        refused(&memory, std::fs::File::open(&memory).map(drop));
    }
    refused(
        "others' files",
        std::fs::File::open("/etc/passwd").map(drop),
    );
    let terminal = probe::inject_terminal_input(io::stdin().as_fd());
    refused("the terminal", terminal);
    // Ends by itself: nobody is left who may end it.
    drop(neighbour.stdin.take());
    neighbour.wait().unwrap();
}

/// Another process of the engine's user, which ends with its standard input.
fn neighbour() -> Child {
    let user = nobody();
    let mut command = Command::new("cat");
    command.uid(user.uid).gid(user.gid);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().unwrap()
}

/// Whether this kernel keeps code as it is by itself: from Linux 6.3 on.
fn has_mdwe() -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_str().unwrap();
    let mut numbers = release.split('.').map_while(|part| part.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
    version >= (6, 3)
}

#[test]
fn audit_lines_name_interfaces_also_those_that_appear_after_the_start() {
    if depth().is_empty() {
        return assert_passes(rerun("1"));
    }
    own_network();
    let directory = directory();
    let file = directory.join("audit.jsonl");
    let capture = Capture::open(&options()).unwrap();
    let mut outside = Command::new("sh")
        .args([
            "-c",
            "read go; ip link add late type veth peer name later; echo; read go",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    enter(&directory);
    let audit = AuditLog::open(&file).unwrap();
    assert!(spad_sandbox::deny_syscalls().unwrap());
    let line = |index| {
        let mut event = AuditEvent::new(Event::Refuse, Timestamp::from_micros(1));
        event.interface = Some(index);
        audit.write(event);
    };
    line(LO);
    let mut go = outside.stdin.take().unwrap();
    go.write_all(b"\n").unwrap();
    let mut there = BufReader::new(outside.stdout.take().unwrap());
    there.read_line(&mut String::new()).unwrap();
    let late = rustix::net::netdevice::name_to_index(capture.as_fd(), "late").unwrap();
    line(late);
    line(4040);
    drop(audit);
    drop(go);
    outside.wait().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let names: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["iface"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["lo", "late", "4040"]);
}
