//! The rules as tables: denials first, a row for every combination of mode and lists.

use crate::policy::*;
use crate::types::{Modes, Size};

const MODES: [RuleMode; 4] = [RuleMode::Unset, RuleMode::Enable, RuleMode::Filter, RuleMode::Disable];

fn list(mode: RuleMode, allow: &[&str], deny: &[&str]) -> ListRule {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    ListRule { mode, allow: owned(allow), deny: owned(deny) }
}

fn set(name: &str, value: &str) -> SetEnv {
    SetEnv { name: name.into(), value: value.into(), held: 0, held_bytes: 0 }
}

fn terminal(term: &str) -> Terminal {
    Terminal { term: term.into(), size: Size { columns: 80, rows: 24 }, modes: Modes::default() }
}

fn ends() -> ConnectionEndpoints {
    ConnectionEndpoints {
        client: "[::ffff:192.0.2.7]:52311".parse().unwrap(),
        server: "[2001:db8::1]:2222".parse().unwrap(),
    }
}

fn start(asked: ProgramRequest) -> StartProgram {
    StartProgram { request: asked, env: Vec::new(), terminal: None, endpoints: ends() }
}

fn command(text: &str) -> ProgramRequest {
    ProgramRequest::Exec(text.into())
}

fn launch(rules: &Rules, start: StartProgram) -> ProgramSpec {
    rules.decide(start).unwrap().spend()
}

fn denial<R: PolicyRequest>(rules: &Rules, request: R) -> Option<Denied> {
    rules.decide(request).err()
}

fn pairs(launch: &ProgramSpec) -> Vec<(&str, &str)> {
    launch.env.iter().map(|variable| (variable.name().as_str(), variable.value())).collect()
}

/// Every pair of `defaultMode` and own mode, with the mode that must come out: own, else default, else enable.
fn effective_modes() -> impl Iterator<Item = (RuleMode, RuleMode, RuleMode)> {
    MODES.into_iter().flat_map(|default| {
        MODES.into_iter().map(move |own| {
            let effective = match (own, default) {
                (RuleMode::Unset, RuleMode::Unset) => RuleMode::Enable,
                (RuleMode::Unset, default) => default,
                (own, _) => own,
            };
            (default, own, effective)
        })
    })
}

#[test]
fn shell_and_terminal_are_denied_by_anything_but_enable() {
    for (default_mode, own, effective) in effective_modes() {
        let rules = Rules { default_mode, shell: own, tty: own, ..Rules::default() };
        let open = effective == RuleMode::Enable;
        let row = format!("default {default_mode:?}, own {own:?}");
        assert_eq!(denial(&rules, start(ProgramRequest::Shell)), (!open).then_some(Denied::Shell), "{row}");
        let terminal = OpenTerminal { terminal: terminal("xterm") };
        assert_eq!(denial(&rules, terminal), (!open).then_some(Denied::Tty), "{row}");
    }
}

/// What a section with lists must say about: a listed-to-allow, a listed-to-deny, one in both, one in neither.
fn listed(effective: RuleMode) -> [bool; 4] {
    match effective {
        RuleMode::Enable => [true, false, false, true],
        RuleMode::Filter => [true, false, true, false],
        RuleMode::Unset | RuleMode::Disable => [false; 4],
    }
}

#[test]
fn subsystems_and_signals_pass_by_mode_and_list() {
    // Real signal names serve for both.
    let names = ["TERM", "KILL", "INT", "HUP"];
    for (default_mode, own, effective) in effective_modes() {
        let rule = list(own, &["TERM", "INT"], &["KILL", "INT"]);
        let rules = Rules { default_mode, subsystem: rule.clone(), signal: rule, ..Rules::default() };
        for (name, passes) in names.into_iter().zip(listed(effective)) {
            let row = format!("default {default_mode:?}, own {own:?}, {name}");
            let subsystem = denial(&rules, start(ProgramRequest::Subsystem(name.into())));
            assert_eq!(subsystem, (!passes).then_some(Denied::Subsystem), "{row}");
            let signal = denial(&rules, SendSignal { name: name.into() });
            assert_eq!(signal, (!passes).then_some(Denied::Signal), "{row}");
        }
    }
}

#[test]
fn variables_pass_by_mode_and_list() {
    let names = ["ALLOWED", "DENIED", "BOTH", "NEITHER"];
    for (default_mode, own, effective) in effective_modes() {
        let rules = Rules {
            default_mode,
            env: list(own, &["ALLOWED", "BOTH"], &["DENIED", "BOTH"]),
            // Only the section's own rule is looked at here.
            command: list(RuleMode::Enable, &[], &[]),
            shell: RuleMode::Enable,
            ..Rules::default()
        };
        for (name, passes) in names.into_iter().zip(listed(effective)) {
            let row = format!("default {default_mode:?}, own {own:?}, {name}");
            assert_eq!(denial(&rules, set(name, "x")), (!passes).then_some(Denied::Env), "{row}");
        }
    }
}

#[test]
fn commands_pass_by_mode_and_exact_text() {
    for (default_mode, own, effective) in effective_modes() {
        // There is no deny list for commands: one that slipped in has no effect.
        let rules = Rules { default_mode, command: list(own, &["ls -l"], &["cat"]), ..Rules::default() };
        for (text, allowed) in [("ls -l", true), ("ls", false), ("ls -l ", false), ("ls -l; id", false), ("cat", false)]
        {
            let expected = match effective {
                RuleMode::Enable => None,
                RuleMode::Filter => (!allowed).then_some(Denied::CommandFiltered),
                RuleMode::Unset | RuleMode::Disable => Some(Denied::Command),
            };
            let row = format!("default {default_mode:?}, own {own:?}, {text:?}");
            assert_eq!(denial(&rules, start(command(text))), expected, "{row}");
        }
    }
}

#[test]
fn signals_do_not_follow_the_shell() {
    let term = || SendSignal { name: "TERM".into() };
    let rules = Rules { shell: RuleMode::Disable, ..Rules::default() };
    assert_eq!(denial(&rules, term()), None);
    let rules = Rules { signal: list(RuleMode::Disable, &[], &[]), ..Rules::default() };
    assert_eq!(denial(&rules, term()), Some(Denied::Signal));
}

#[test]
fn unknown_signals_are_denied() {
    for name in ["", "SIGTERM", "term", "9", "WINCH", "TERM\0"] {
        assert_eq!(denial(&Rules::default(), SendSignal { name: name.into() }), Some(Denied::SignalName), "{name:?}");
    }
}

#[test]
fn forwarding_is_off_unless_its_own_key_enables_it() {
    let tcp = || ("localhost".to_owned(), 80);
    for default_mode in MODES {
        for own in MODES {
            let forwarding = Forwarding {
                reverse: own,
                direct: own,
                socket: own,
                socket_listen: own,
                x11: own,
                agent: own,
                ..Forwarding::default()
            };
            let rules = Rules { default_mode, forwarding, ..Rules::default() };
            let row = format!("default {default_mode:?}, own {own:?}");
            let expected = |denied| (own != RuleMode::Enable).then_some(denied);
            let (host, port) = tcp();
            assert_eq!(denial(&rules, Dial::Tcp { host, port }), expected(Denied::Direct), "{row}");
            assert_eq!(denial(&rules, Dial::Unix { path: "/s".into() }), expected(Denied::Socket), "{row}");
            let (host, port) = tcp();
            assert_eq!(denial(&rules, Listen::Tcp { host, port }), expected(Denied::Reverse), "{row}");
            assert_eq!(denial(&rules, Listen::Unix { path: "/s".into() }), expected(Denied::SocketListen), "{row}");
            assert_eq!(denial(&rules, Listen::X11(X11Forwarding::default())), expected(Denied::X11), "{row}");
            assert_eq!(denial(&rules, Listen::Agent), expected(Denied::Agent), "{row}");
        }
    }
}

#[test]
fn each_forwarding_key_opens_its_own_door_alone() {
    let keys: [fn(&mut Forwarding); 6] = [
        |f| f.direct = RuleMode::Enable,
        |f| f.socket = RuleMode::Enable,
        |f| f.reverse = RuleMode::Enable,
        |f| f.socket_listen = RuleMode::Enable,
        |f| f.x11 = RuleMode::Enable,
        |f| f.agent = RuleMode::Enable,
    ];
    for (door, open) in keys.into_iter().enumerate() {
        let mut rules = Rules::default();
        open(&mut rules.forwarding);
        let allowed = [
            denial(&rules, Dial::Tcp { host: "h".into(), port: 1 }).is_none(),
            denial(&rules, Dial::Unix { path: "/s".into() }).is_none(),
            denial(&rules, Listen::Tcp { host: String::new(), port: 0 }).is_none(),
            denial(&rules, Listen::Unix { path: "/s".into() }).is_none(),
            denial(&rules, Listen::X11(X11Forwarding::default())).is_none(),
            denial(&rules, Listen::Agent).is_none(),
        ];
        let expected: Vec<_> = (0..6).map(|at| at == door).collect();
        assert_eq!(allowed.to_vec(), expected, "door {door}");
    }
}

#[test]
fn forwarding_to_no_address_is_denied() {
    let on = RuleMode::Enable;
    let forwarding = Forwarding {
        reverse: on,
        direct: on,
        socket: on,
        socket_listen: on,
        x11: on,
        agent: on,
        ..Forwarding::default()
    };
    let rules = Rules { forwarding, ..Rules::default() };
    let long = "h".repeat(256);
    for host in ["", "a b", "a\0", "a\n", &long] {
        let dial = Dial::Tcp { host: host.into(), port: 1 };
        assert_eq!(denial(&rules, dial), Some(Denied::DialTarget), "{host:?}");
    }
    assert_eq!(denial(&rules, Dial::Tcp { host: "h".into(), port: 0 }), Some(Denied::DialTarget));
    for path in ["", "/a\0b", &"/".repeat(4097)] {
        assert_eq!(denial(&rules, Dial::Unix { path: path.into() }), Some(Denied::DialTarget));
        assert_eq!(denial(&rules, Listen::Unix { path: path.into() }), Some(Denied::ListenTarget));
    }
    assert_eq!(denial(&rules, Listen::Tcp { host: "a b".into(), port: 0 }), Some(Denied::ListenTarget));
    assert_eq!(denial(&rules, Listen::Tcp { host: String::new(), port: 0 }), None);
}

#[test]
fn sessions_beyond_the_limit_are_denied_by_what_is_open() {
    for (max, open, denied) in [
        (Some(0), 0, true),
        (Some(1), 1, true),
        (Some(2), 3, true),
        (Some(1), 0, false),
        (Some(2), 1, false),
        (None, 100_000, false),
    ] {
        let rules = Rules { max_sessions: max, ..Rules::default() };
        assert_eq!(denial(&rules, OpenSession { open }), denied.then_some(Denied::Sessions), "{max:?} {open}");
    }
}

#[test]
fn variables_of_the_connection_and_the_loader_are_never_the_clients() {
    let names =
        ["SSH_ORIGINAL_COMMAND", "SSH_CONNECTION", "SSH_AUTH_SOCK", "LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "ENV"];
    for mode in MODES {
        // Not even a list helps.
        let rules = Rules { env: list(mode, &names, &[]), ..Rules::default() };
        for name in names {
            assert_eq!(denial(&rules, set(name, "x")), Some(Denied::EnvProtected), "{mode:?} {name}");
        }
    }
}

#[test]
fn what_is_no_variable_is_denied() {
    for name in ["", "--split-string=id", "A=B", "A-B", "1A", "BASH_FUNC_ls%%", "A\0"] {
        assert_eq!(denial(&Rules::default(), set(name, "x")), Some(Denied::EnvName), "{name:?}");
    }
    assert_eq!(denial(&Rules::default(), set("A", "a\0b")), Some(Denied::EnvValue));
}

#[test]
fn too_many_or_too_large_variables_are_denied() {
    let rules = Rules::default();
    for (held, held_bytes, value) in [(256, 0, 1), (0, 128 * 1024, 1), (0, 0, 128 * 1024), (1, usize::MAX, 1)] {
        let request = SetEnv { name: "A".into(), value: "x".repeat(value), held, held_bytes };
        assert_eq!(denial(&rules, request), Some(Denied::EnvSize), "{held} {held_bytes} {value}");
    }
    let most = SetEnv { name: "A".into(), value: "x".repeat(128 * 1024 - 1), held: 255, held_bytes: 0 };
    assert_eq!(denial(&rules, most), None);
}

#[test]
fn variables_that_one_by_one_pass_are_denied_together() {
    let rules = Rules::default();
    let many = (0..257).map(|i| rules.decide(set(&format!("A{i}"), "x")).unwrap()).collect();
    assert_eq!(denial(&rules, StartProgram { env: many, ..start(ProgramRequest::Shell) }), Some(Denied::EnvSize));
    let large = (0..3).map(|_| rules.decide(set("A", &"x".repeat(64 * 1024))).unwrap()).collect();
    assert_eq!(denial(&rules, StartProgram { env: large, ..start(ProgramRequest::Shell) }), Some(Denied::EnvSize));
}

#[test]
fn restricted_user_sets_only_harmless_and_named_variables() {
    type Restrict = fn(&mut Rules);
    let restrictions: [(&str, Restrict); 6] = [
        ("forceCommand", |rules| rules.force_command = Some("menu".into())),
        ("command filter", |rules| rules.command.mode = RuleMode::Filter),
        ("command disable", |rules| rules.command.mode = RuleMode::Disable),
        ("shell filter", |rules| rules.shell = RuleMode::Filter),
        ("shell disable", |rules| rules.shell = RuleMode::Disable),
        ("default filter", |rules| {
            rules.default_mode = RuleMode::Filter;
            rules.env.mode = RuleMode::Enable;
        }),
    ];
    for (name, restrict) in restrictions {
        let mut rules = Rules { env: list(RuleMode::Unset, &["NAMED"], &["LC_DENIED"]), ..Rules::default() };
        restrict(&mut rules);
        for variable in ["PATH", "IFS", "PYTHONPATH", "LANGUAGE", "lc_all"] {
            assert_eq!(denial(&rules, set(variable, "x")), Some(Denied::EnvRestricted), "{name} {variable}");
        }
        for variable in ["TERM", "LANG", "LC_ALL", "NAMED"] {
            assert_eq!(denial(&rules, set(variable, "x")), None, "{name} {variable}");
        }
        assert_eq!(denial(&rules, set("LC_DENIED", "x")), Some(Denied::Env), "{name}");
        assert_eq!(denial(&rules, set("LD_PRELOAD", "x")), Some(Denied::EnvProtected), "{name}");
    }
    let free = Rules { subsystem: list(RuleMode::Disable, &[], &[]), tty: RuleMode::Disable, ..Rules::default() };
    assert_eq!(denial(&free, set("PATH", "x")), None, "a free command needs no protection from its environment");
}

#[test]
fn terminal_type_that_is_no_word_is_denied() {
    for term in ["a b", "a\n", "a\0", "\x1b[31m", "ä", &"x".repeat(129)] {
        let request = OpenTerminal { terminal: terminal(term) };
        assert_eq!(denial(&Rules::default(), request), Some(Denied::TermName), "{term:?}");
    }
    for term in ["", "xterm-256color", "vt220+x", &"x".repeat(128)] {
        assert_eq!(denial(&Rules::default(), OpenTerminal { terminal: terminal(term) }), None, "{term:?}");
    }
}

#[test]
fn nul_in_what_is_asked_for_is_denied() {
    let rules = Rules { force_command: Some("menu".into()), ..Rules::default() };
    for rules in [Rules::default(), rules] {
        assert_eq!(denial(&rules, start(command("ls\0id"))), Some(Denied::CommandNul));
        assert_eq!(denial(&rules, start(ProgramRequest::Subsystem("sftp\0".into()))), Some(Denied::Subsystem));
    }
}

#[test]
fn forced_command_does_not_open_what_is_closed() {
    let forced = Rules { force_command: Some("menu".into()), ..Rules::default() };
    let rules = Rules { shell: RuleMode::Disable, ..forced.clone() };
    assert_eq!(denial(&rules, start(ProgramRequest::Shell)), Some(Denied::Shell));
    let rules = Rules { command: list(RuleMode::Disable, &[], &[]), ..forced.clone() };
    assert_eq!(denial(&rules, start(command("ls"))), Some(Denied::Command));
    let rules = Rules { command: list(RuleMode::Filter, &["menu"], &[]), ..forced.clone() };
    assert_eq!(denial(&rules, start(command("ls"))), Some(Denied::CommandFiltered));
    let rules = Rules { subsystem: list(RuleMode::Enable, &[], &["sftp"]), ..forced };
    assert_eq!(denial(&rules, start(ProgramRequest::Subsystem("sftp".into()))), Some(Denied::Subsystem));
}

#[test]
fn forced_command_takes_the_place_of_what_was_asked_for() {
    // The forced command itself is not filtered.
    let rules =
        Rules { force_command: Some("menu".into()), command: list(RuleMode::Filter, &["ls"], &[]), ..Rules::default() };
    for (asked, original) in [
        (ProgramRequest::Shell, None),
        (command("ls"), Some("ls")),
        (ProgramRequest::Subsystem("sftp".into()), Some("sftp")),
    ] {
        let launch = launch(&rules, start(asked.clone()));
        assert_eq!(launch.request, ProgramRequest::Exec("menu".into()), "{asked:?}");
        let found = pairs(&launch).into_iter().find(|(name, _)| *name == "SSH_ORIGINAL_COMMAND").map(|(_, v)| v);
        assert_eq!(found, original, "{asked:?}");
    }
}

#[test]
fn command_that_is_no_text_passes_no_list_and_is_kept_whole_beside_a_forced_one() {
    let asked = ProgramRequest::exec(b"ls \xff");
    let ProgramRequest::ExecBytes(bytes) = asked.clone() else { panic!("no text") };
    let filtered = Rules { command: list(RuleMode::Filter, &["ls \u{fffd}", "ls"], &[]), ..Rules::default() };
    assert_eq!(filtered.decide(start(asked.clone())).unwrap_err(), Denied::CommandFiltered);
    let disabled = Rules { command: list(RuleMode::Disable, &[], &[]), ..Rules::default() };
    assert_eq!(disabled.decide(start(asked.clone())).unwrap_err(), Denied::Command);
    let cut = Rules::default().decide(start(ProgramRequest::exec(b"ls\0\xff")));
    assert_eq!(cut.unwrap_err(), Denied::CommandNul);
    assert_eq!(launch(&Rules::default(), start(asked.clone())).request, asked);
    let forced = launch(&Rules { force_command: Some("menu".into()), ..Rules::default() }, start(asked));
    assert_eq!((forced.request, forced.original), (ProgramRequest::Exec("menu".into()), Some(bytes)));
}

#[test]
fn without_a_forced_command_what_was_asked_for_runs_as_it_came() {
    for (asked, what) in [
        (ProgramRequest::Shell, ProgramRequest::Shell),
        (command(""), ProgramRequest::Exec(String::new())),
        (command(" ls | wc "), ProgramRequest::Exec(" ls | wc ".into())),
        (ProgramRequest::Subsystem("sftp".into()), ProgramRequest::Subsystem("sftp".into())),
    ] {
        let launch = launch(&Rules::default(), start(asked));
        assert_eq!(launch.request, what);
        let ours = [("SSH_CONNECTION", "192.0.2.7 52311 2001:db8::1 2222"), ("SSH_CLIENT", "192.0.2.7 52311 2222")];
        assert_eq!(pairs(&launch), ours);
    }
}

#[test]
fn later_variables_win_and_the_terminal_names_term() {
    let rules = Rules::default();
    let env = [("A", "1"), ("TERM", "dumb"), ("A", "2"), ("B", "")];
    let request = StartProgram {
        env: env.map(|(name, value)| rules.decide(set(name, value)).unwrap()).into(),
        terminal: Some(rules.decide(OpenTerminal { terminal: terminal("xterm") }).unwrap()),
        ..start(ProgramRequest::Shell)
    };
    let launch = launch(&rules, request);
    assert_eq!(pairs(&launch)[..3], [("A", "2"), ("TERM", "xterm"), ("B", "")]);
    assert_eq!(launch.env.len(), 5);
    assert_eq!(launch.terminal, Some(terminal("xterm")));
}

#[test]
fn empty_terminal_type_leaves_term_alone() {
    let rules = Rules::default();
    let permit = rules.decide(OpenTerminal { terminal: terminal("") }).unwrap();
    let launch = launch(&rules, StartProgram { terminal: Some(permit), ..start(ProgramRequest::Shell) });
    assert!(pairs(&launch).iter().all(|(name, _)| *name != "TERM"));
    assert!(launch.terminal.is_some());
}
