//! Names against files, and against a name server on loopback that also lies.

use super::*;
use simple_dns::ResourceRecord;
use simple_dns::rdata::A;
use std::thread::spawn;

const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost # both\n10.0.0.9\tpod pod.local\n";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn resolve(resolver: &Resolver, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, ResolveError> {
    resolver.resolve(host, deadline, &AtomicBool::new(false))
}

#[test]
fn lookup_that_is_given_up_asks_nobody() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let mut resolver = Resolver::new("", "");
    resolver.servers = vec![server.local_addr().unwrap()];
    assert!(matches!(resolver.resolve("a.test", soon(), &AtomicBool::new(true)), Err(ResolveError::NoAnswer(_))));
    assert!(server.recv(&mut [0; 16]).is_err());
}

#[test]
fn files_are_read_as_the_c_library_reads_them() {
    let text = "# made by kubelet\nsearch ns.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\n\
                nameserver nonsense\noptions ndots:5 timeout:2 attempts:99 rotate\n";
    let resolver = Resolver::new("", text);
    assert_eq!(resolver.servers, ["10.96.0.10:53".parse().unwrap()]);
    assert_eq!((resolver.ndots, resolver.timeout, resolver.attempts), (5, Duration::from_secs(2), 5));
    assert_eq!(resolver.candidates("db"), ["db.ns.svc.cluster.local", "db.svc.cluster.local", "db"]);
    assert_eq!(resolver.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f");
    assert_eq!(resolver.candidates("example.org."), ["example.org"]);
    assert_eq!(Resolver::new("", "").servers, ["127.0.0.1:53".parse().unwrap()]);
}

#[test]
fn addresses_and_hosts_need_no_server() {
    let resolver = Resolver::new(HOSTS, "");
    let of = |host| resolve(&resolver, host, soon()).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(of("192.0.2.1"), ["192.0.2.1"]);
    assert_eq!(of("2001:db8::1"), ["2001:db8::1"]);
    // As for sshd, which gives the text to getaddrinfo(3).
    for bracketed in ["[2001:db8::1]", "[127.0.0.1]"] {
        assert!(matches!(resolve(&resolver, bracketed, soon()), Err(ResolveError::NotFound(_))), "{bracketed}");
    }
    assert_eq!(of("LOCALHOST"), ["127.0.0.1", "::1"]);
    assert_eq!(of("pod.local"), ["10.0.0.9"]);
    assert_eq!(resolve(&Resolver::new("", ""), "localhost", soon()).unwrap().len(), 2);
}

/// A name server that knows `known.test` and first sends answers that are none.
fn server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    spawn(move || {
        let mut datagram = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let asked = Packet::parse(&datagram[..length]).unwrap();
            let question = asked.questions[0].clone();
            let reply = |id, name: &str, address: Option<u32>| {
                let mut packet = Packet::new_reply(id);
                let mut question = question.clone();
                question.qname = Name::new_unchecked(name).into_owned();
                if let Some(address) = address {
                    let record = RData::A(A { address });
                    packet.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, 5, record));
                }
                packet.questions.push(question);
                packet.build_bytes_vec().unwrap()
            };
            let name = question.qname.to_string();
            socket.send_to(b"noise", from).unwrap();
            socket.send_to(&reply(asked.id().wrapping_add(1), &name, Some(1)), from).unwrap();
            socket.send_to(&reply(asked.id(), "other.test", Some(2)), from).unwrap();
            let known = name == "known.test" && question.qtype == QTYPE::TYPE(TYPE::A);
            socket.send_to(&reply(asked.id(), &name, known.then_some(0x0a00_0007)), from).unwrap();
        }
    });
    address
}

#[test]
fn name_in_a_zone_is_never_asked_for() {
    let resolver = Resolver::new("127.0.0.9 ::1%known fe80::1%eth0\n", "");
    for host in ["::1%known", "fe80::1%eth0", "[::1%known]", "a\\b"] {
        assert!(matches!(resolve(&resolver, host, soon()), Err(ResolveError::NotFound(_))), "{host}");
    }
}

#[test]
fn only_the_answer_to_the_question_counts() {
    let mut resolver = Resolver::new("", "search nowhere.test test\noptions timeout:1 attempts:1\n");
    resolver.servers = vec![server()];
    let found = resolve(&resolver, "known", soon()).unwrap();
    assert_eq!(found, ["10.0.0.7".parse::<IpAddr>().unwrap()]);
    assert!(matches!(resolve(&resolver, "unknown", soon()), Err(ResolveError::NotFound(_))));
    assert!(matches!(resolve(&resolver, &"a".repeat(64), soon()), Err(ResolveError::NotAName(_))));
}

#[test]
fn silent_server_ends_with_the_deadline() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut resolver = Resolver::new("", "options timeout:30 attempts:5\n");
    resolver.servers = vec![silent.local_addr().unwrap()];
    let begun = Instant::now();
    let error = resolve(&resolver, "known.test", begun + Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, ResolveError::NoAnswer(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

proptest::proptest! {
    /// One panic would end every session of the link.
    #[test]
    fn hostile_answer_is_no_more_than_none(
        tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        places in proptest::collection::vec((0_usize..80, proptest::prelude::any::<u8>()), 0..12),
        keep in 0_usize..80,
    ) {
        let question = question(7, "known.test", TYPE::A).unwrap();
        let mut answer = Packet::new_reply(7);
        answer.questions.extend(Packet::parse(&question).unwrap().questions);
        let name = Name::new_unchecked("known.test");
        answer.answers.push(ResourceRecord::new(name, CLASS::IN, 5, RData::A(A { address: 1 })));
        let mut bytes = answer.build_bytes_vec().unwrap();
        for (place, value) in places {
            let length = bytes.len();
            bytes[place % length] = value;
        }
        bytes.truncate(keep.max(12));
        bytes.extend(tail);
        let _ = read_answer(&bytes, &question, 7, TYPE::A);
    }
}
