//! The lists as tables, with the spellings by which somebody would get past them.

use super::*;

/// Texts with a second reading, or none.
const MISREAD: &[&str] = &[
    "",
    "*",
    "db",
    "db:",
    ":80",
    ":",
    "db:0",
    "db:65536",
    "db:+80",
    "db: 80",
    " db:80",
    "db:80 ",
    "db:http",
    "db:80-",
    "db:-80",
    "db:90-80",
    "db:80,443",
    "db:80:80",
    "::1",
    "::1:80",
    "fd00::/8:80",
    "[::1]",
    "[::1:80",
    "::1]:80",
    "[10.0.0.1]:80",
    "[db]:80",
    "[::1]/128:80",
    "[fe80::1%eth0]:80",
    "10.0.0.1/8:80",
    "[fd00::1/8]:80",
    "10.0.0.0/33:80",
    "10.0.0/8:80",
    "10.0.0:80",
    "010.0.0.1:80",
    "0x7f.1:80",
    "2130706433:80",
    "127.1:80",
    "10.*:80",
    "192.168.?.1:80",
    "10.0.0.0-10.0.0.9:80",
    "*.*:80",
    "?:80",
    "db..internal:80",
    ".internal:80",
    "d b:80",
    "dä:80",
    "db/24:80",
    "http://db:80",
    "user@db:80",
    "!db:80",
    "{a,b}:80",
    "[ab]:80",
    "unix:",
    "unix:run/x",
    "unix:/run/../x",
    "unix:/run//x",
    "unix:/run/x/",
    "unix:/",
    "unix:/run/[ab]",
    "unix:/run/**/x",
    "unix:/run/a**",
    "unix:~/x",
    "unix:/run/{a,b}",
    "unix:/run/a\\*",
    "unix:80",
    "listen:80",
    "listen:",
    "listen:db:80",
    "listen:*.internal:80",
    "listen:unix:x",
    "listen:listen:*:80",
    "LISTEN:*:80",
    "listen:0:80",
];

fn entries(texts: &[&str]) -> Vec<DestinationEntry> {
    texts.iter().map(|text| text.parse().unwrap_or_else(|mistake| panic!("{text}: {mistake}"))).collect()
}

fn lists(allow: &[&str], deny: &[&str]) -> Destinations {
    Destinations::new(entries(allow), entries(deny))
}

#[track_caller]
fn dials(lists: &Destinations, expected: bool, hosts: &[&str], port: u16) {
    for host in hosts {
        assert_eq!(lists.passes_dial(host, port), expected, "{host:?} port {port} by {lists:?}");
    }
}

#[track_caller]
fn listens(lists: &Destinations, expected: bool, hosts: &[&str], port: u16) {
    for host in hosts {
        assert_eq!(lists.passes_listen(host, port), expected, "{host:?} port {port} by {lists:?}");
    }
}

#[test]
fn texts_that_can_be_misread_are_no_entries() {
    for text in MISREAD {
        assert!(text.parse::<DestinationEntry>().is_err(), "{text}: {:?}", text.parse::<DestinationEntry>());
    }
}

#[test]
fn entries_are_shown_as_they_are_written() {
    for (text, shown) in [
        ("db:5432", "db:5432"),
        ("*:22", "*:22"),
        ("*:*", "*:*"),
        ("DB.Internal.:8000-8999", "db.internal:8000-8999"),
        ("*.internal:443", "*.internal:443"),
        ("10.0.0.0/8:443", "10.0.0.0/8:443"),
        ("10.0.0.1:443", "10.0.0.1:443"),
        ("10.0.0.1/32:443", "10.0.0.1:443"),
        ("[::1]:80", "[::1]:80"),
        ("[fd00::/8]:80", "[fd00::/8]:80"),
        ("[::ffff:10.0.0.0/104]:80", "10.0.0.0/8:80"),
        ("unix:/run/*.sock", "unix:/run/*.sock"),
        ("unix:/run/**", "unix:/run/**"),
        ("unix:/**", "unix:/**"),
        ("unix:*", "unix:*"),
        ("listen:localhost:8080", "listen:localhost:8080"),
        ("listen:[::]:*", "listen:[::]:*"),
        ("listen:unix:/tmp/x", "listen:unix:/tmp/x"),
    ] {
        assert_eq!(entries(&[text])[0].to_string(), shown);
    }
    let lists = lists(&["db:1", "web:2", "unix:/x"], &["db:*"]);
    assert_eq!(lists.shown(DestinationKind::Dial).as_deref(), Some("only db:1, web:2 but db:*"));
    assert_eq!(lists.shown(DestinationKind::Listener), None);
    assert_eq!(Destinations::default().shown(DestinationKind::Socket).as_deref(), Some("any"));
}

#[test]
fn deny_wins_over_allow() {
    let lists = lists(&["*:*", "db:5432", "10.0.0.1:80"], &["db:5432", "10.0.0.0/8:80", "unix:/run/x", "listen:*:22"]);
    dials(&lists, false, &["db", "DB", "db."], 5432);
    dials(&lists, false, &["10.0.0.1"], 80);
    dials(&lists, true, &["db", "10.0.0.1", "elsewhere"], 443);
    listens(&lists, false, &["", "localhost", "10.0.0.1"], 22);
    assert!(!lists.passes_socket("/run/x"));
}

#[test]
fn with_an_allow_list_only_what_it_lists_passes() {
    let only = lists(&["db.internal:5432", "*.svc:80-81", "10.1.0.0/16:443", "[fd00::1]:22"], &[]);
    dials(&only, true, &["db.internal", "DB.INTERNAL", "db.internal."], 5432);
    dials(&only, true, &["a.svc", "a.b.svc"], 81);
    dials(&only, true, &["10.1.2.3", "::ffff:10.1.2.3", "::ffff:a01:203"], 443);
    dials(&only, true, &["fd00::1", "fd00:0::1", "[fd00::1]"], 22);
    dials(&only, false, &["db.internal"], 5433);
    dials(&only, false, &["svc", ".svc", "xsvc", "a.svc.evil", "a.svc.."], 80);
    dials(&only, false, &["10.2.0.1", "10.1", "0xa010203", "167838211", "012.1.2.3", "db.internal"], 443);
    // An address of an allowed name, and a name of an allowed address, are not known here.
    dials(&only, false, &["localhost", "127.0.0.1", "", "db"], 5432);
    // The other kinds have no entry.
    listens(&only, false, &["localhost", ""], 5432);
    assert!(!only.passes_socket("/run/x") && !only.passes_socket_listen("/run/x"));
    let sockets = lists(&["unix:/run/*.sock"], &[]);
    dials(&sockets, false, &["db.internal", "localhost"], 5432);
}

#[test]
fn name_never_passes_by_an_entry_with_addresses() {
    let every_address = lists(&["0.0.0.0/0:*", "[::/0]:*"], &[]);
    dials(&every_address, true, &["10.0.0.1", "fd00::1"], 80);
    dials(&every_address, false, &["db", "localhost", "a.example"], 80);
}

#[test]
fn denied_addresses_deny_every_name_that_is_not_allowed_by_name() {
    let metadata = lists(&[], &["169.254.0.0/16:80"]);
    dials(&metadata, false, &["metadata.evil.example", "a", "metadata.google.internal."], 80);
    dials(&metadata, true, &["metadata.evil.example"], 443);
    // The only name whose addresses are known.
    dials(&metadata, true, &["localhost", "LOCALHOST."], 80);
    dials(&metadata, true, &["10.0.0.1"], 80);
    let with_any = lists(&["*:80"], &["169.254.0.0/16:80"]);
    dials(&with_any, false, &["evil.example"], 80);
    dials(&with_any, true, &["10.0.0.1", "localhost"], 80);
    let with_name = lists(&["*:80", "good.example:80"], &["169.254.0.0/16:80"]);
    dials(&with_name, true, &["good.example"], 80);
    dials(&with_name, false, &["evil.example"], 80);
    let other_port = lists(&["*:80", "good.example:443"], &["169.254.0.0/16:80"]);
    dials(&other_port, false, &["good.example"], 80);
}

#[test]
fn denied_address_is_denied_in_every_spelling() {
    let lists = lists(&[], &["127.0.0.0/8:*", "169.254.169.254:*"]);
    dials(
        &lists,
        false,
        &[
            // What inet_aton(3) takes.
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0X7F.0.0.1",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "0x7f.1",
            "0",
            "0x",
            "127.0.0.0x1",
            "127.000.000.001",
            // IPv4 in IPv6, NAT64, 6to4, the compatible form.
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "[::ffff:127.0.0.1]",
            "::ffff:127.0.0.1%lo",
            "0:0:0:0:0:ffff:7f00:1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1:1:2:3:a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            // The unspecified address, and the names.
            "0.0.0.0",
            "::ffff:0.0.0.0",
            "localhost",
            "LocalHost",
            "localhost.",
            "127.0.0.1",
            "127.9.9.9",
            "[127.0.0.1]",
            // What a resolver may make something else of.
            "１２７.0.0.1",
            "127。0。0。1",
            "localhost%00",
            "a b",
            "-",
            "local_host",
            "[localhost]",
            "",
            "..",
            "a..b",
        ],
        22,
    );
    dials(&lists, true, &["10.0.0.1", "::1", "2001:db8::1", "::", "128.0.0.1"], 22);
}

#[test]
fn denied_address_is_denied_behind_every_length_of_a_translators_prefix() {
    let lists = lists(&[], &["192.0.2.33:*"]);
    // The examples of RFC 6052 section 2.4.
    let examples = [
        "2001:db8:c000:221::",
        "2001:db8:1c0:2:21::",
        "2001:db8:122:c000:2:2100::",
        "2001:db8:122:3c0:0:221::",
        "2001:db8:122:344:c0:2:2100::",
        "2001:db8:122:344::192.0.2.33",
        "64:ff9b::192.0.2.33",
    ];
    dials(&lists, false, &examples, 22);
    // The prefix for local use, with whatever behind the address.
    let local =
        ["64:ff9b:1:c000:2:2100::", "64:ff9b:1:c000:2:2100::7", "64:ff9b:1:3c0:0:221:1:1", "64:ff9b:1::c000:221"];
    dials(&lists, false, &local, 22);
    dials(&lists, true, &["64:ff9b::192.0.2.34", "2001:db8:122:c000:2:2200::", "2001:db8::21"], 22);
    // What no translator writes is an address like another.
    let other = ["2001:db8:122:c000:2:2100::7", "2001:db8:122:344:ff00:2:c000:221"];
    dials(&lists, true, &other, 22);
}

#[test]
fn ordinary_ipv6_passes_where_every_ipv4_is_denied() {
    let no_ipv4 = lists(&[], &["0.0.0.0/0:*"]);
    dials(&no_ipv4, true, &["2001:db8::1", "fd00::53", "2001:db8:1:2:3:4:5:6", "2001:db8::2ff:feab:1:2", "::1"], 22);
    dials(&no_ipv4, false, &["10.0.0.1", "64:ff9b::1", "::ffff:0:10.0.0.1"], 22);
}

#[test]
fn denied_ipv6_loopback_is_denied_as_the_unspecified_address_too() {
    let lists = lists(&[], &["[::1]:22"]);
    dials(&lists, false, &["::1", "0:0::1", "[::1]", "::", "::1%lo", "localhost"], 22);
    dials(&lists, true, &["127.0.0.1", "0.0.0.0"], 22);
}

#[test]
fn name_in_a_zone_passes_no_list() {
    let zones = ["2001:db8::1%x.10.1.2.3.nip.example", "[2001:db8::1%db.internal]", "fe80::1%eth0", "::ffff:8.8.8.8%x"];
    dials(&lists(&["[2001:db8::/32]:22", "*.internal:22", "[fe80::/10]:22"], &[]), false, &zones, 22);
    dials(&lists(&[], &["10.0.0.0/8:22"]), false, &zones, 22);
}

#[test]
fn denied_localhost_is_denied_by_address() {
    let lists = lists(&[], &["localhost:22"]);
    dials(&lists, false, &["localhost", "LOCALHOST.", "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::"], 22);
    dials(&lists, true, &["10.0.0.1", "local", "localhost.example"], 22);
}

#[test]
fn denied_name_is_denied_where_a_search_domain_completes_it() {
    let service = lists(&[], &["db.prod.svc.cluster.local:*", "*.vault.svc.cluster.local:*"]);
    dials(
        &service,
        false,
        &["db.prod.svc.cluster.local", "Db.Prod.svc.cluster.local.", "db.prod.svc", "db.prod", "db"],
        1,
    );
    dials(&service, false, &["a.vault", "a.vault.svc", "a.vault.svc.cluster.local", "a.b.vault.svc.cluster.local."], 1);
    // A dot at its end keeps search domains away.
    dials(&service, true, &["db.prod.", "db.", "a.vault."], 1);
    dials(&service, true, &["web.prod", "a", "vault", "db.prod.svc.cluster.local.evil", "127.0.0.1"], 1);
}

#[test]
fn listeners_are_compared_by_every_address_that_they_would_have() {
    let local = lists(&["listen:localhost:8000-8999"], &[]);
    listens(&local, true, &["localhost", "LOCALHOST", "127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"], 8080);
    listens(&local, false, &["", "*", "0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "::2", "db", "localhost."], 8080);
    listens(&local, false, &["localhost"], 9000);
    // The guest's system could choose any port.
    listens(&local, false, &["localhost"], 0);
    let any_port = lists(&["listen:localhost:*", "listen:0.0.0.0:80"], &[]);
    listens(&any_port, true, &["localhost"], 0);
    listens(&any_port, true, &["0.0.0.0"], 80);
    listens(&any_port, false, &["", "::", "10.0.0.1"], 80);
    let network = lists(&["listen:10.0.0.0/8:*", "listen:127.0.0.1:*"], &[]);
    listens(&network, true, &["10.1.1.1", "127.0.0.1"], 80);
    // It would also have ::1.
    listens(&network, false, &["localhost", "0.0.0.0", ""], 80);
    let part = lists(&["listen:0.0.0.0/8:*"], &[]);
    listens(&part, false, &["0.0.0.0"], 80);
    let everything = lists(&["listen:0.0.0.0/0:*"], &[]);
    listens(&everything, true, &["0.0.0.0"], 80);
    listens(&everything, false, &["", "::"], 80);
    let any = lists(&["listen:*:*"], &[]);
    listens(&any, true, &["", "*", "0.0.0.0", "::", "localhost", "10.0.0.1"], 0);
}

#[test]
fn denied_listener_is_denied_inside_a_wider_one() {
    let outside = lists(&[], &["listen:10.0.0.5:*"]);
    listens(&outside, false, &["10.0.0.5", "::ffff:10.0.0.5", "0.0.0.0", "::", "", "*"], 80);
    listens(&outside, true, &["localhost", "127.0.0.1", "10.0.0.6"], 80);
    listens(&outside, false, &["pod", "0x7f.1", "127.1"], 80);
    let local = lists(&[], &["listen:localhost:22"]);
    listens(&local, false, &["localhost", "127.0.0.1", "127.255.0.3", "::1", "0.0.0.0", "::", ""], 22);
    // No system chooses a port below 1024.
    listens(&local, true, &["localhost"], 0);
    let high = lists(&[], &["listen:localhost:40000-50000"]);
    listens(&high, false, &["localhost", ""], 0);
    let v6 = lists(&[], &["listen:[::1]:*"]);
    listens(&v6, false, &["::1", "::", "", "localhost"], 80);
    listens(&v6, true, &["127.0.0.1", "0.0.0.0"], 80);
}

#[test]
fn sockets_are_compared_by_paths_with_one_spelling() {
    let lists = lists(&["unix:/run/user/*.sock", "unix:/srv/**", "listen:unix:/tmp/?"], &["unix:/srv/secret/**"]);
    for path in ["/run/user/a.sock", "/run/user/.sock", "/srv/a", "/srv/a/b/c", "/srv/secret"] {
        assert!(lists.passes_socket(path), "{path}");
    }
    for path in [
        "/run/user/a",
        "/run/user/b/a.sock",
        "/run/user/../a.sock",
        "/run//user/a.sock",
        "/run/./user/a.sock",
        "/run/user/a.sock/",
        "run/user/a.sock",
        "/srv",
        "/srv/",
        "/srv/../etc/x",
        "/srv/secret/x",
        "/srv//secret/x",
        "/srv/a/../secret/x",
        "@abstract",
        "/RUN/user/a.sock",
        "/tmp/x",
        "",
    ] {
        assert!(!lists.passes_socket(path), "{path}");
    }
    assert!(lists.passes_socket_listen("/tmp/x") && !lists.passes_socket_listen("/tmp/xy"));
}

#[test]
fn socket_below_proc_passes_no_list() {
    for path in ["/proc/self/root/run/docker.sock", "/proc/1/root/x", "/proc"] {
        assert!(!lists(&[], &["unix:/run/docker.sock"]).passes_socket(path), "{path}");
        assert!(!lists(&["unix:*"], &[]).passes_socket(path), "{path}");
    }
}

#[test]
fn every_socket_can_be_listed() {
    let any = lists(&["unix:*"], &[]);
    assert!(any.passes_socket("/a/b") && !any.passes_socket("a/../b") && !any.passes_socket_listen("/a/b"));
}

#[test]
fn nothing_is_compared_without_an_entry() {
    let none = Destinations::default();
    dials(&none, true, &["db", "0x7f.1", "127.0.0.1", "a b"], 1);
    listens(&none, true, &["", "pod"], 0);
    assert!(none.passes_socket("../x") && none.passes_socket_listen("x") && none.is_empty());
}
