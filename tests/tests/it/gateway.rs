//! A gateway: a grant leads to an inner host, and nothing else does.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use spa_proto::{Addresses, Open, Request};
use spa_tests::echo::Echo;
use spa_tests::gateway::{Gateway, INNER, INNER4, INNER6, OUTER, forwarding};
use spa_tests::identity::{close, open, open_with_addresses};
use spa_tests::lab::{CLIENT4, SERVER4, SERVER6};
use spa_tests::process::Process;
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::Settings;
use spa_tests::sshd::Sshd;
use spa_tests::wait;

const TO_BOTH: &str = "ports = [\"tcp/2222\"], to = [\"10.0.0.5:7022\", \"[2001:db8:5::5]:7022\"]";

/// `nas` is hidden beside the usual ones.
fn hidden(ttl: &'static str) -> Settings {
    Settings {
        hide: &["nas", "ssh", "web", "chat"],
        ..Settings::ttl(ttl)
    }
}

/// What the client sees: the outer port over both families, and the inner host's own.
fn seen(gateway: &Gateway) -> [Reachability; 4] {
    let client = &gateway.bed.lab.client;
    [
        (IpAddr::from(SERVER4), OUTER),
        (SERVER6.into(), OUTER),
        (INNER4.into(), INNER),
        (INNER6.into(), INNER),
    ]
    .map(|(address, port)| reach::tcp(client, address, port))
}

const ALL_REFUSED: [Reachability; 4] = [Reachability::Refused; 4];

#[test]
fn a_grant_leads_to_the_inner_host_and_a_stranger_reaches_it_by_no_way() {
    let gateway = Gateway::new(TO_BOTH, &hidden("30s"), true);
    let echo = Echo::tcp(&gateway.inner, INNER);
    assert_eq!(seen(&gateway), ALL_REFUSED);
    assert_eq!(echo.received(), 0);

    gateway.open();
    let four = [
        Reachability::Open,
        Reachability::Refused,
        Reachability::Refused,
        Reachability::Refused,
    ];
    assert_eq!(seen(&gateway), four, "over IPv4, at the outer port alone");
    gateway.open6();
    let both = [
        Reachability::Open,
        Reachability::Open,
        Reachability::Refused,
        Reachability::Refused,
    ];
    assert_eq!(seen(&gateway), both);

    let stranger = reach::tcp(&gateway.inner, SERVER4.into(), OUTER);
    assert_ne!(stranger, Reachability::Open, "the grant is for one address");
}

#[test]
fn a_forwarded_port_that_is_not_hidden_leads_nowhere_without_a_grant() {
    let gateway = Gateway::new(TO_BOTH, &Settings::ttl("30s"), true);
    let _echo = Echo::tcp(&gateway.inner, INNER);
    let shown = [
        Reachability::Refused,
        Reachability::Refused,
        Reachability::Open,
        Reachability::Open,
    ];
    assert_eq!(seen(&gateway), shown, "the route is nobody's secret");
    gateway.open();
    gateway.open6();
    assert_eq!(seen(&gateway), [Reachability::Open; 4]);
}

#[test]
fn a_connection_lives_on_when_its_grant_has_ended_and_no_other_begins() {
    let gateway = Gateway::new(TO_BOTH, &hidden("2s"), true);
    let _echo = Echo::tcp(&gateway.inner, INNER);
    gateway.open();
    gateway.open6();
    let client = &gateway.bed.lab.client;
    let mut kept = [SERVER4.into(), SERVER6.into()].map(|to| reach::connect(client, to, OUTER));
    wait::eventually("both grants end", || {
        (seen(&gateway) == ALL_REFUSED).then_some(())
    });
    for connection in &mut kept {
        assert!(reach::echoes(connection));
    }
}

#[test]
fn with_masquerading_the_inner_host_needs_no_way_back() {
    let with = |more: &str| {
        let gateway = Gateway::new(&format!("{TO_BOTH}{more}"), &hidden("30s"), false);
        let echo = Echo::tcp(&gateway.inner, INNER);
        gateway.open();
        gateway.open6();
        let [four, six, inner4, inner6] = seen(&gateway);
        assert_eq!([inner4, inner6], [Reachability::Refused; 2]);
        ([four, six], echo)
    };
    let (seen, echo) = with(", masquerade = true");
    assert_eq!(seen, [Reachability::Open; 2]);
    wait::eventually("both reach it", || (echo.received() == 2).then_some(()));
    let (seen, echo) = with("");
    assert_eq!(seen, [Reachability::NoAnswer; 2], "no way back without it");
    assert_eq!(echo.received(), 0);
}

#[test]
fn a_close_and_a_disabled_client_end_what_leads_to_the_inner_host() {
    let gateway = Gateway::new(TO_BOTH, &hidden("30s"), true);
    let _echo = Echo::tcp(&gateway.inner, INNER);
    gateway.open();
    assert_eq!(seen(&gateway)[0], Reachability::Open);
    let packet = gateway.visitor.seal(&close(&["tcp/2222"]));
    gateway.bed.send_counted(&packet, "closed");
    assert_eq!(seen(&gateway), ALL_REFUSED);
    gateway.open();
    assert_eq!(seen(&gateway)[0], Reachability::Open);
    let _ = gateway.bed.spad.cli(&["client", "disable", "visitor"]).ok();
    assert_eq!(seen(&gateway), ALL_REFUSED);
}

#[test]
fn a_restart_keeps_what_leads_to_the_inner_host_and_so_does_a_flushed_ruleset() {
    let mut gateway = Gateway::new(TO_BOTH, &hidden("30s"), true);
    let _echo = Echo::tcp(&gateway.inner, INNER);
    gateway.open();
    gateway.bed.spad.stop();
    assert_eq!(seen(&gateway)[0], Reachability::Open, "while stopped");
    gateway.bed.spad.start();
    assert_eq!(seen(&gateway)[0], Reachability::Open);
    gateway.bed.lab.server.nft("flush ruleset\n");
    let put_back = [
        Reachability::Open,
        Reachability::Refused,
        Reachability::Refused,
        Reachability::Refused,
    ];
    wait::eventually("the table is put back", || {
        (seen(&gateway) == put_back).then_some(())
    });
}

#[test]
fn a_grant_for_one_connection_leads_one_and_no_second() {
    for settings in [hidden("30s"), Settings::ttl("30s")] {
        let gateway = Gateway::new(TO_BOTH, &settings, true);
        let _echo = Echo::tcp(&gateway.inner, INNER);
        let Request::Open(ordinary) = open(&["tcp/2222"]) else {
            unreachable!("a request to open");
        };
        let once = Request::Open(Open {
            once: true,
            ..ordinary
        });
        gateway
            .bed
            .send_counted(&gateway.visitor.seal(&once), "opened");
        let client = &gateway.bed.lab.client;
        let mut only = reach::connect(client, SERVER4.into(), OUTER);
        assert!(reach::echoes(&mut only));
        assert_eq!(
            reach::tcp(client, SERVER4.into(), OUTER),
            Reachability::Refused
        );
        assert!(reach::echoes(&mut only));
    }
}

#[test]
fn udp_is_led_too_and_a_grant_for_one_source_port_leads_that_one_alone() {
    let nas = "ports = [\"udp/2222\"], to = [\"10.0.0.5:7022\", \"[2001:db8:5::5]:7022\"]";
    let gateway = Gateway::new(nas, &hidden("30s"), true);
    // Each at its own address, so that the answers come from there.
    let _echoes = [IpAddr::from(INNER4), INNER6.into()]
        .map(|address| Echo::udp_on(&gateway.inner, (address, INNER).into()));
    let client = &gateway.bed.lab.client;
    let seen = || [SERVER4.into(), SERVER6.into()].map(|to| reach::udp(client, to, OUTER));
    let Request::Open(ordinary) = open(&["udp/2222"]) else {
        unreachable!("a request to open");
    };
    let port = 40_777;
    let bound = Request::Open(Open {
        source_port: NonZeroU16::new(port),
        ..ordinary
    });
    let packet = gateway.visitor.seal(&bound);
    gateway.bed.send_counted(&packet, "opened");
    assert_eq!(seen(), [Reachability::Refused; 2]);
    let received = client.enter(|| {
        let socket = std::net::UdpSocket::bind((CLIENT4, port)).expect("the port");
        let timeout = Some(Duration::from_secs(2));
        socket.set_read_timeout(timeout).expect("a time limit");
        socket
            .send_to(b"there?", (SERVER4, OUTER))
            .expect("a route");
        socket.recv(&mut [0; 16]).is_ok()
    });
    assert!(received);
    let packet = gateway.visitor.open(&["udp/2222"]);
    gateway.bed.send_counted(&packet, "opened");
    gateway.bed.send6(&gateway.visitor.open(&["udp/2222"]));
    gateway.bed.spad.wait_verdict_count("opened", 3);
    assert_eq!(seen(), [Reachability::Open; 2]);
}

#[test]
fn a_client_of_the_other_family_is_refused_with_the_reason() {
    let gateway = Gateway::new(
        "ports = [\"tcp/2222\"], to = \"10.0.0.5:7022\"",
        &hidden("30s"),
        true,
    );
    let _echo = Echo::tcp(&gateway.inner, INNER);
    let spad = &gateway.bed.spad;
    gateway.bed.send6(&gateway.visitor.open(&["tcp/2222"]));
    spad.wait_verdict_count("no_inner_host", 1);
    assert_eq!(seen(&gateway)[..2], [Reachability::Refused; 2]);
    gateway.open();
    assert_eq!(
        seen(&gateway)[..2],
        [Reachability::Open, Reachability::Refused]
    );
}

#[test]
fn real_ssh_goes_through_to_the_same_port_of_the_inner_host() {
    let gateway = Gateway::new(
        "ports = [\"tcp/2222\"], to = [\"10.0.0.5\", \"2001:db8:5::5\"]",
        &hidden("30s"),
        true,
    );
    let sshd = Sshd::start(&gateway.inner, gateway.bed.lab.path(), OUTER);
    let client = &gateway.bed.lab.client;
    assert!(!sshd.ssh(client, SERVER4.into(), "true").success);
    gateway.open();
    gateway.open6();
    for to in [IpAddr::from(SERVER4), SERVER6.into()] {
        let output = sshd.ssh(client, to, "ip -br addr show eth0").ok().stdout;
        assert!(output.contains("10.0.0.5"), "{output}");
    }
}

#[test]
fn a_port_that_the_administrator_forwards_already_is_hidden_and_shown_again_with_its_trial() {
    let settings = Settings {
        trial: "3s",
        ..hidden("30s")
    };
    let mut gateway = Gateway::stopped(TO_BOTH, &settings, true);
    let _echo = Echo::tcp(&gateway.inner, INNER);
    gateway.bed.lab.server.nft(
        "table ip theirs {
  chain prerouting { type nat hook prerouting priority dstnat;
    tcp dport { 2222, 9022 } dnat to 10.0.0.5:7022
  }
}
",
    );
    let client = &gateway.bed.lab.client;
    let their_own = || [OUTER, 9022].map(|port| reach::tcp(client, SERVER4.into(), port));
    assert_eq!(their_own(), [Reachability::Open; 2]);
    gateway.bed.spad.start();
    assert_eq!(their_own(), [Reachability::Refused; 2], "by neither port");
    assert_eq!(seen(&gateway), ALL_REFUSED);
    wait::eventually("the trial ends", || {
        (their_own() == [Reachability::Open; 2]).then_some(())
    });
    assert_eq!(
        seen(&gateway)[2..],
        [Reachability::Open; 2],
        "by the route too"
    );
    let _ = gateway.bed.spad.cli(&["confirm"]).ok();
    assert_eq!(seen(&gateway), ALL_REFUSED);
    gateway.open();
    assert_eq!(their_own(), [Reachability::Open, Reachability::Refused]);
}

#[test]
fn a_forwarding_for_an_address_that_this_machine_has_not_is_judged_by_the_grant_too() {
    let gateway = Gateway::new(TO_BOTH, &hidden("30s"), true);
    let _echo = Echo::tcp(&gateway.inner, INNER);
    gateway.bed.lab.server.nft(
        "table ip theirs {
  chain prerouting { type nat hook prerouting priority dstnat;
    ip daddr 203.0.113.7 tcp dport 2222 dnat to 10.0.0.5:7022
  }
}
",
    );
    let client = &gateway.bed.lab.client;
    client.run_ok("ip", &["route", "add", "203.0.113.7", "via", "192.0.2.1"]);
    let seen = || reach::tcp(client, [203, 0, 113, 7].into(), OUTER);
    assert_eq!(seen(), Reachability::Refused);
    gateway.open();
    assert_eq!(seen(), Reachability::Open);
}

#[test]
fn whoever_has_a_grant_reaches_other_hosts_through_the_gateway_as_ever() {
    let gateway = Gateway::new(TO_BOTH, &hidden("30s"), true);
    let _echo = Echo::tcp(&gateway.inner, INNER);
    gateway
        .inner
        .run_ok("ip", &["addr", "add", "10.0.0.6/24", "dev", "eth0"]);
    gateway.open();
    assert_eq!(seen(&gateway)[0], Reachability::Open);
    let client = &gateway.bed.lab.client;
    let other = reach::tcp(client, [10, 0, 0, 6].into(), OUTER);
    assert_eq!(other, Reachability::Refused, "nothing listens there");
}

#[test]
fn whoever_never_needs_a_grant_is_led_without_one() {
    let settings = Settings {
        always_allow: &["lo", "192.0.2.2", "2001:db8::2"],
        ..hidden("30s")
    };
    let gateway = Gateway::new(TO_BOTH, &settings, true);
    let _echo = Echo::tcp(&gateway.inner, INNER);
    assert_eq!(seen(&gateway), [Reachability::Open; 4]);
    let beside = reach::tcp(&gateway.inner, [10, 0, 0, 1].into(), OUTER);
    assert_eq!(beside, Reachability::Refused, "others are not");
}

#[test]
fn a_grant_for_a_network_leads_all_of_it() {
    let gateway = Gateway::new(TO_BOTH, &hidden("30s"), true);
    let _echo = Echo::tcp(&gateway.inner, INNER);
    let networks = "ipv4_prefix = 24\nipv6_prefix = 64";
    let roaming = gateway.bed.new_client("roaming", "nas", networks);
    let stating = Addresses::new(Some([192, 0, 2, 99].into()), "2001:db8::99".parse().ok());
    let request = open_with_addresses(&["tcp/2222"], stating.expect("addresses"));
    gateway.bed.send_counted(&roaming.seal(&request), "opened");
    let both = [
        Reachability::Open,
        Reachability::Open,
        Reachability::Refused,
        Reachability::Refused,
    ];
    assert_eq!(seen(&gateway), both, "a neighbour of the stated addresses");
}

#[test]
fn a_gateway_that_forwards_nothing_is_told_so_by_check_and_at_the_start() {
    let gateway = Gateway::new(TO_BOTH, &hidden("30s"), true);
    let spad = &gateway.bed.spad;
    assert_eq!(spad.cli(&["check"]).ok().stderr, "");
    forwarding(&gateway.bed.lab.server, false);
    let output = spad.cli(&["check"]).ok().stderr;
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        assert!(output.contains(&format!("sysctl -w {key}=1")), "{output}");
    }
    spad.reload();
    let mut gateway = gateway;
    gateway.bed.spad.stop();
    gateway.bed.spad.start();
    assert!(gateway.bed.spad.output().contains("net.ipv4.ip_forward"));
}

#[test]
fn a_service_that_leads_inside_no_longer_leaves_no_rule_behind() {
    let gateway = Gateway::new(TO_BOTH, &hidden("30s"), true);
    let _echo = Echo::tcp(&gateway.inner, INNER);
    gateway.open();
    gateway.bed.open(&["tcp/8080"]);
    gateway.write_config("ports = [\"tcp/2222\"]", &hidden("30s"));
    gateway.bed.spad.reload();
    let table = gateway
        .bed
        .lab
        .server
        .run_ok("nft", &["list", "table", "inet", "spad"]);
    assert!(
        !table.contains("dnat ip") && !table.contains("type nat") && !table.contains("inner"),
        "{table}"
    );
    assert_eq!(
        gateway.bed.tcp(8080),
        Reachability::Open,
        "other grants stay"
    );
    let shown = [
        Reachability::Refused,
        Reachability::Refused,
        Reachability::Open,
        Reachability::Open,
    ];
    assert_eq!(seen(&gateway), shown);
}

/// A session with the inner host, which goes on talking.
fn session(gateway: &Gateway, sshd: &Sshd, to: IpAddr) -> Process {
    let mut command = gateway.bed.lab.client.command("ssh");
    // The first port counts.
    command.args(["-F", "/dev/null", "-p", &OUTER.to_string()]);
    command.args(["-o", "ServerAliveInterval=1"]);
    command.args(sshd.options()).arg(format!("root@{to}"));
    command.arg("while echo tick; do sleep 0.1; done");
    let output = gateway.bed.lab.path().join("session");
    let mut session = Process::start(&mut command, &output);
    wait::eventually("the session talks", || {
        assert!(session.try_wait().is_none(), "{}", session.output());
        session.output().contains("tick").then_some(())
    });
    session
}

const TO_SAME_PORT: &str =
    "ports = [\"tcp/2222\"], to = [\"10.0.0.5\", \"2001:db8:5::5\"], masquerade = ";

#[test]
fn a_cut_ends_a_session_through_the_gateway_at_both_ends() {
    for (masquerade, settings) in [
        ("false", hidden("2s")),
        ("true", hidden("2s")),
        ("false", Settings::ttl("2s")),
    ] {
        let gateway = Gateway::new(&format!("{TO_SAME_PORT}{masquerade}"), &settings, true);
        let sshd = Sshd::start(&gateway.inner, gateway.bed.lab.path(), OUTER);
        for to in [IpAddr::from(SERVER4), SERVER6.into()] {
            gateway.open();
            gateway.open6();
            let mut session = session(&gateway, &sshd, to);
            let output = gateway.bed.spad.cli(&["revoke", "visitor", "--cut"]).ok();
            assert!(
                output.stdout.contains("1 connection cut"),
                "{}",
                output.stdout
            );
            wait::eventually("the session dies", || session.try_wait());
            wait::eventually("the inner host's end dies too", || {
                let left = gateway
                    .inner
                    .run_ok("ss", &["-Htn", "state", "established"]);
                (!left.contains(":2222 ")).then_some(())
            });
        }
    }
}

#[test]
fn what_was_cut_does_not_go_on_by_the_route_to_the_inner_host() {
    let nas = "ports = [\"udp/2222\"], to = [\"10.0.0.5:7022\", \"[2001:db8:5::5]:7022\"]";
    let timeout = Some(Duration::from_secs(3));
    let bound = |namespace: &spa_tests::namespace::Namespace, at: (IpAddr, u16)| {
        let socket = namespace.enter(|| std::net::UdpSocket::bind(at));
        let socket = socket.expect("a socket");
        socket.set_read_timeout(timeout).expect("a time limit");
        socket
    };
    let received = |socket: &std::net::UdpSocket| {
        let mut bytes = [0; 16];
        let (length, from) = socket.recv_from(&mut bytes).ok()?;
        Some((bytes[..length].to_vec(), from))
    };
    for (to, inner, any) in [
        (SERVER4.into(), INNER4.into(), [0; 4].into()),
        (SERVER6.into(), INNER6.into(), [0_u16; 8].into()),
    ] {
        let gateway = Gateway::new(nas, &hidden("30s"), true);
        let service = bound(&gateway.inner, (inner, INNER));
        let client = bound(&gateway.bed.lab.client, (any, 0));
        let send_packet = || {
            let packet = gateway.visitor.open(&["udp/2222"]);
            let before = gateway.bed.spad.verdict_count("opened");
            if inner.is_ipv4() {
                gateway.bed.send(&packet);
            } else {
                gateway.bed.send6(&packet);
            }
            gateway.bed.spad.wait_verdict_count("opened", before + 1);
        };
        send_packet();
        client.send_to(b"begin", (to, OUTER)).expect("a route");
        let (_, peer) = received(&service).expect("the grant leads it");
        service.send_to(b"answer", peer).expect("a route");
        assert_eq!(
            received(&client),
            Some((b"answer".to_vec(), (to, OUTER).into()))
        );
        let output = gateway.bed.spad.cli(&["revoke", "visitor", "--cut"]).ok();
        assert!(
            output.stdout.contains("1 connection cut"),
            "{}",
            output.stdout
        );
        // The service does not know yet, and what it says makes the kernel know a
        // connection again.
        service.send_to(b"more", peer).expect("a route");
        let _ = received(&client);
        for at in [(to, OUTER), (inner, INNER)] {
            client.send_to(b"still here", at).expect("a route");
        }
        assert_eq!(received(&service), None, "{inner}");

        // The next knock begins anew, from the same port too.
        send_packet();
        client.send_to(b"again", (to, OUTER)).expect("a route");
        assert!(received(&service).is_some(), "{inner}");
        client.send_to(b"and again", (to, OUTER)).expect("a route");
        assert!(received(&service).is_some(), "{inner}");
    }
}

#[test]
fn whom_a_reload_no_longer_leads_inside_does_not_reach_the_gateways_own_port() {
    let gateway = Gateway::new(TO_BOTH, &hidden("30s"), true);
    let _echo = Echo::tcp(&gateway.inner, INNER);
    let own = Echo::tcp(&gateway.bed.lab.server, OUTER);
    gateway.open();
    gateway.open6();
    let four = "ports = [\"tcp/2222\"], to = \"10.0.0.5:7022\"";
    gateway.write_config(four, &hidden("30s"));
    gateway.bed.spad.reload();
    assert_eq!(
        seen(&gateway)[..2],
        [Reachability::Open, Reachability::Refused]
    );
    assert_eq!(own.received(), 0);
}
