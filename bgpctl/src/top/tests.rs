use std::time::{Duration, Instant};

use bgpd_proto::v1;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::churn::Change;
use super::screen;
use super::state::{State, Wanted};

fn neighbor(host: u8, state: &str, updates: u64) -> v1::Neighbor {
    v1::Neighbor {
        address: format!("192.0.2.{host}"),
        asn: 65000 + u32::from(host),
        state: state.to_owned(),
        description: format!("rack {host}"),
        uptime_seconds: 3661,
        received: Some(v1::MessageCounts { update: updates, ..Default::default() }),
        queued_bytes: u64::from(host) * 1000,
        flaps: 3,
        prefixes: vec![v1::PrefixCounts { received: 7, ..Default::default() }],
        ..Default::default()
    }
}

fn status() -> v1::GetStatusResponse {
    v1::GetStatusResponse {
        version: "0.1.0".to_owned(),
        asn: 65000,
        router_id: "192.0.2.1".to_owned(),
        neighbors: 3,
        established: 2,
        uptime_seconds: 90,
        tables: vec![v1::TableCounts { prefixes: 10, paths: 12, ..Default::default() }],
        ..Default::default()
    }
}

/// Two answers, two seconds apart.
fn state() -> State {
    let (mut state, now) = (State::default(), Instant::now());
    let neighbors = |updates| {
        vec![neighbor(11, "Established", updates), neighbor(12, "Active", 5), neighbor(2, "Established", updates * 10)]
    };
    state.update(neighbors(100), status(), now);
    let changes =
        |prefix: &str, count| vec![Change { prefix: prefix.to_owned(), from: Some("192.0.2.11".to_owned()) }; count];
    state.changed(changes("10.1.0.0/24", 30));
    state.changed(changes("10.2.0.0/24", 10));
    state.update(neighbors(150), status(), now + Duration::from_secs(2));
    state
}

/// The screen as text.
fn screen(state: &State) -> String {
    screen_of(state, 110, 24)
}

fn screen_of(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
    terminal.draw(|frame| screen::draw(frame, state)).expect("it draws");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| line(y).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn press(state: &mut State, codes: impl IntoIterator<Item = KeyCode>) {
    for code in codes {
        assert_eq!(state.key(KeyEvent::new(code, KeyModifiers::NONE)), Wanted::Nothing);
    }
}

/// The addresses of the rows from top to bottom.
fn order(state: &State) -> Vec<String> {
    state.shown().iter().map(|row| row.neighbor.address.clone()).collect()
}

#[test]
fn the_screen_shows_sessions_rates_queues_and_the_noisiest_prefixes() {
    insta::assert_snapshot!(screen(&state()));
}

#[test]
fn neighbors_are_sorted_by_what_is_asked_for() {
    let mut state = state();
    assert_eq!(order(&state), ["192.0.2.2", "192.0.2.11", "192.0.2.12"], "addresses are numbers");
    press(&mut state, [KeyCode::Char('s')]);
    assert_eq!(order(&state)[0], "192.0.2.12", "what is down comes first");
    press(&mut state, [KeyCode::Char('s')]);
    assert_eq!(order(&state), ["192.0.2.2", "192.0.2.11", "192.0.2.12"], "250, 25 and 0 a second");
    press(&mut state, [KeyCode::Char('r')]);
    assert_eq!(order(&state), ["192.0.2.12", "192.0.2.11", "192.0.2.2"]);
    assert!(screen(&state).contains("sort (updates in, reversed)"));
    press(&mut state, [KeyCode::Char('s'), KeyCode::Char('s'), KeyCode::Char('s')]);
    assert!(screen(&state).contains("sort (queue, reversed)"));
    assert_eq!(order(&state), ["192.0.2.2", "192.0.2.11", "192.0.2.12"], "the smallest queue first");
}

#[test]
fn a_filter_keeps_what_matches_an_address_a_state_or_a_description() {
    let mut state = state();
    press(&mut state, "/RACK 1".chars().map(KeyCode::Char));
    assert!(screen(&state).contains("filter: RACK 1_"));
    press(&mut state, [KeyCode::Char('2'), KeyCode::Enter]);
    assert_eq!(order(&state), ["192.0.2.12"]);
    press(&mut state, [KeyCode::Esc]);
    assert_eq!(order(&state).len(), 3);
    press(&mut state, "/active".chars().map(KeyCode::Char));
    assert_eq!(order(&state), ["192.0.2.12"]);
    press(&mut state, [KeyCode::Esc]);
    assert_eq!(order(&state).len(), 3);
}

#[test]
fn a_neighbor_is_opened_and_left_again() {
    let mut state = state();
    press(&mut state, [KeyCode::Down, KeyCode::Enter]);
    let seen = screen(&state);
    assert!(seen.contains("updates in 25/s") && seen.contains("192.0.2.11") && seen.contains("Esc back"), "{seen}");
    assert!(!seen.contains("192.0.2.12"), "{seen}");
    press(&mut state, [KeyCode::Down]);
    assert!(!screen(&state).contains("updates in 25/s, out"), "it scrolls");
    press(&mut state, [KeyCode::End]);
    let end = screen(&state);
    press(&mut state, [KeyCode::Down, KeyCode::PageDown]);
    assert_eq!(screen(&state), end, "the last line stays in sight");
    press(&mut state, [KeyCode::Up]);
    assert_ne!(screen(&state), end, "and what goes up moves at once");
    press(&mut state, [KeyCode::Home]);
    assert!(screen(&state).contains("updates in 25/s, out"));
    press(&mut state, [KeyCode::Esc]);
    assert!(screen(&state).contains("192.0.2.12"));
    // The cursor stays with its neighbor however the others move.
    press(&mut state, [KeyCode::Char('s'), KeyCode::Enter]);
    assert_eq!(state.opened.as_deref(), Some("192.0.2.11"));
}

#[test]
fn a_bgpd_that_is_away_is_said_and_the_last_picture_stays() {
    let mut state = state();
    state.failed("transport error");
    let seen = screen(&state);
    assert!(seen.contains("bgpd does not answer: transport error") && seen.contains("192.0.2.11"), "{seen}");
    state.update(Vec::new(), status(), Instant::now());
    assert!(!screen(&state).contains("does not answer"));
}

#[test]
fn a_terminal_of_80_columns_has_whole_addresses_and_numbers_on_the_right() {
    insta::assert_snapshot!(screen_of(&state(), 80, 24));
}

#[test]
fn long_addresses_take_the_place_of_what_matters_less() {
    let (mut state, now) = (State::default(), Instant::now());
    let address = "2001:db8:1234:5678:9abc:def0:1234:5678";
    let long = v1::Neighbor { address: address.to_owned(), ..neighbor(11, "Established", 0) };
    state.update(vec![long], status(), now);
    let seen = screen_of(&state, 80, 24);
    let line = seen.lines().find(|line| line.contains(address)).expect("the whole address");
    assert!(line.contains("Established") && !seen.contains("Description") && !seen.contains("Flaps"), "{seen}");
    // What the order comes from is always there.
    press(&mut state, "ssssss".chars().map(KeyCode::Char));
    assert!(screen_of(&state, 80, 24).contains("Flaps"));
}

#[test]
fn a_large_terminal_has_more_of_the_noisiest_prefixes_and_they_are_counted_anew() {
    let mut state = state();
    let many = (0..40).map(|at| Change { prefix: format!("10.7.{at}.0/24"), from: None });
    state.changed(many.collect());
    let count = |state: &State, height| screen_of(state, 200, height).matches("10.7.").count();
    assert!(count(&state, 50) > count(&state, 24));
    press(&mut state, [KeyCode::Char('c')]);
    assert!(screen(&state).contains("none has changed"));
}

#[test]
fn a_neighbor_that_is_gone_is_not_looked_at_any_more() {
    let mut state = state();
    press(&mut state, [KeyCode::Down, KeyCode::Enter]);
    state.update(vec![neighbor(12, "Active", 5), neighbor(2, "Active", 5)], status(), Instant::now());
    press(&mut state, [KeyCode::Char('s')]);
    assert!(screen(&state).contains("sort (state)"), "keys are for the table");
}

#[test]
fn a_small_terminal_shows_what_fits() {
    for (width, height) in [(1, 1), (20, 4), (80, 6)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
        terminal.draw(|frame| screen::draw(frame, &state())).expect("it draws");
    }
}

#[test]
fn q_and_control_c_leave() {
    let key = |code, modifiers| state().key(KeyEvent::new(code, modifiers));
    assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Wanted::Leave);
    assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Wanted::Leave);
}
