use super::super::in_use;
use super::*;

/// A client, a clock, and what it wants done.
struct Router {
    client: Client,
    now: Instant,
}

const SESSION: u16 = 7;

#[expect(clippy::disallowed_methods, reason = "tests begin somewhere")]
fn router(settings: CacheSettings) -> Router {
    let now = Instant::now();
    Router { client: Client::new(settings, now), now }
}

fn vrp(asn: u32) -> Vrp {
    Vrp { prefix: "10.0.0.0/8".parse().expect("a prefix"), max_length: 24, asn }
}

fn prefix(announce: bool, asn: u32) -> Pdu {
    Pdu::Prefix { announce, vrp: vrp(asn) }
}

fn end(serial: u32) -> Pdu {
    let intervals = Some(Intervals { refresh: 100, retry: 50, expire: 600 });
    Pdu::EndOfData { session: SESSION, serial, intervals }
}

impl Router {
    fn input(&mut self, input: Input<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.client.handle(input, self.now, &mut actions);
        actions
    }

    fn receive(&mut self, pdu: &Pdu) -> Vec<Action> {
        self.receive_in(1, pdu)
    }

    fn receive_in(&mut self, version: u8, pdu: &Pdu) -> Vec<Action> {
        self.input(Input::Pdu(&pdu.encode(version)))
    }

    fn wait(&mut self, count: u64) -> Vec<Action> {
        self.now += Duration::from_secs(count);
        self.input(Input::Tick)
    }

    /// Connects and returns the question.
    fn connect(&mut self) -> (u8, Pdu) {
        assert_eq!(self.input(Input::Tick), [Action::Connect]);
        sent(&self.input(Input::Connected))
    }

    /// Connects and takes an answer with these ASes in full.
    fn synchronize(&mut self, asns: &[u32], serial: u32) {
        assert_eq!(self.connect().1, Pdu::ResetQuery);
        self.receive(&Pdu::CacheResponse { session: SESSION });
        asns.iter().for_each(|asn| drop(self.receive(&prefix(true, *asn))));
        assert_eq!(self.receive(&end(serial)), [Action::Changed]);
        assert_eq!(self.client.phase(), Phase::Synchronized);
    }

    fn asns(&self) -> Vec<u32> {
        self.client.vrps().iter().map(|vrp| vrp.asn).collect()
    }
}

/// The PDU that is sent first.
fn sent(actions: &[Action]) -> (u8, Pdu) {
    match actions.first() {
        Some(Action::Send(bytes)) => rtr::decode(bytes).expect("we send what can be read"),
        other => panic!("nothing is sent but {other:?}"),
    }
}

/// The code of the Error Report that is sent, if the connection is closed behind it.
fn refused(actions: &[Action]) -> ErrorCode {
    assert!(actions.contains(&Action::Close), "{actions:?}");
    let report = actions.iter().find(|action| matches!(action, Action::Send(_)));
    match sent(report.map(std::slice::from_ref).unwrap_or_default()).1 {
        Pdu::ErrorReport { code, .. } => code,
        other => panic!("{other:?} is sent"),
    }
}

/// RFC 8210 §8.1.
#[test]
fn everything_is_asked_for_first_and_then_what_is_new() {
    let mut router = router(CacheSettings::default());
    router.synchronize(&[1, 2], 10);
    assert_eq!(router.asns(), [1, 2]);
    let (version, question) = sent(&router.receive(&Pdu::SerialNotify { session: SESSION, serial: 11 }));
    assert_eq!((version, question), (1, Pdu::SerialQuery { session: SESSION, serial: 10 }));
    router.receive(&Pdu::CacheResponse { session: SESSION });
    router.receive(&prefix(false, 1));
    assert_eq!(router.receive(&prefix(true, 3)), []);
    assert_eq!(router.asns(), [1, 2], "an answer counts as a whole");
    assert_eq!(router.receive(&end(11)), [Action::Changed]);
    assert_eq!(router.asns(), [2, 3]);
    assert_eq!(router.client.position(), Some((1, SESSION, 11)));
}

/// RFC 8210 §6.
#[test]
fn the_cache_is_asked_again_after_the_refresh_interval() {
    let mut router = router(CacheSettings::default());
    router.synchronize(&[1], 10);
    assert_eq!(router.wait(99), []);
    assert_eq!(sent(&router.wait(1)).1, Pdu::SerialQuery { session: SESSION, serial: 10 });
    router.receive(&Pdu::CacheResponse { session: SESSION });
    assert_eq!(router.receive(&end(10)), [], "nothing is new");
}

/// RFC 8210 §6: data is used until it expires, and not a second longer.
#[test]
fn data_of_a_cache_that_is_away_counts_until_it_expires() {
    let mut router = router(CacheSettings::default());
    router.synchronize(&[1], 10);
    router.input(Input::Closed("gone".to_owned()));
    assert!(router.client.is_stale() && router.client.has_data());
    router.wait(2);
    router.input(Input::Closed("refused".to_owned()));
    router.wait(597);
    assert_eq!(router.asns(), [1]);
    assert!(router.wait(1).contains(&Action::Changed));
    assert!(router.asns().is_empty() && !router.client.has_data());
    assert_eq!(router.client.last_error(), Some("no answer for 600 s: the data has expired"));
}

#[test]
fn a_cache_that_is_back_in_time_is_asked_for_what_is_new() {
    let mut router = router(CacheSettings::default());
    router.synchronize(&[1], 10);
    router.input(Input::Closed("gone".to_owned()));
    router.now += Duration::from_secs(2);
    assert_eq!(router.connect().1, Pdu::SerialQuery { session: SESSION, serial: 10 });
    router.receive(&Pdu::CacheResponse { session: SESSION });
    router.receive(&end(10));
    assert!(!router.client.is_stale());
}

/// RFC 8210 §8.3.
#[test]
fn after_a_cache_reset_everything_is_asked_for_and_the_old_data_counts_meanwhile() {
    let mut router = router(CacheSettings::default());
    router.synchronize(&[1], 10);
    router.receive(&Pdu::SerialNotify { session: SESSION, serial: 11 });
    assert_eq!(sent(&router.receive(&Pdu::CacheReset)).1, Pdu::ResetQuery);
    router.receive(&Pdu::CacheResponse { session: 8 });
    router.receive(&prefix(true, 5));
    assert_eq!(router.asns(), [1]);
    router.receive(&Pdu::EndOfData { session: 8, serial: 1, intervals: None });
    assert_eq!(router.asns(), [5]);
    assert_eq!(router.client.position(), Some((1, 8, 1)));
}

/// RFC 8210 §5.1.
#[test]
fn data_goes_at_once_when_the_cache_has_another_session() {
    for pdu in [Pdu::SerialNotify { session: 8, serial: 10 }, Pdu::CacheResponse { session: 8 }] {
        let mut router = router(CacheSettings::default());
        router.synchronize(&[1], 10);
        if matches!(pdu, Pdu::CacheResponse { .. }) {
            router.receive(&Pdu::SerialNotify { session: SESSION, serial: 11 });
        }
        let actions = router.receive(&pdu);
        assert!(actions.contains(&Action::Changed));
        assert_eq!(refused(&actions), ErrorCode::CORRUPT_DATA);
        assert!(!router.client.has_data());
    }
}

/// RFC 8210 §7.
#[test]
fn a_cache_that_refuses_version_1_is_asked_in_version_0() {
    let mut router = router(CacheSettings::default());
    assert_eq!(router.connect(), (1, Pdu::ResetQuery));
    let report = Pdu::ErrorReport { code: ErrorCode::UNSUPPORTED_VERSION, text: String::new() };
    assert_eq!(router.receive_in(0, &report), [Action::Close]);
    assert_eq!(router.connect(), (0, Pdu::ResetQuery), "without waiting");
    router.receive_in(0, &Pdu::CacheResponse { session: SESSION });
    router.receive_in(0, &prefix(true, 1));
    router.receive_in(0, &end(1));
    assert_eq!(router.client.position(), Some((0, SESSION, 1)));
    assert_eq!(router.client.timing().1, Intervals::default(), "version 0 says no intervals");
}

/// RFC 8210 §7.
#[test]
fn a_cache_that_answers_in_version_0_is_taken_at_its_word() {
    let mut router = router(CacheSettings::default());
    router.connect();
    router.receive_in(0, &Pdu::CacheResponse { session: SESSION });
    router.receive_in(0, &end(1));
    assert_eq!(router.client.position(), Some((0, SESSION, 1)));
    assert_eq!(refused(&router.receive_in(1, &Pdu::CacheReset)), ErrorCode::UNEXPECTED_VERSION);
}

/// RFC 8210 §8.4.
#[test]
fn a_cache_without_data_is_asked_again_on_the_same_connection() {
    let settings = CacheSettings { retry: Some(30), ..CacheSettings::default() };
    let mut router = router(settings);
    router.connect();
    let report = Pdu::ErrorReport { code: ErrorCode::NO_DATA_AVAILABLE, text: "soon".to_owned() };
    assert_eq!(router.receive(&report), []);
    assert_eq!(router.client.phase(), Phase::NoData);
    assert_eq!(router.client.last_error(), Some("the cache says: no data available: soon"));
    assert_eq!(sent(&router.wait(30)).1, Pdu::ResetQuery);
}

/// RFC 8210 §12.
#[test]
fn what_a_cache_may_not_say_ends_the_connection_with_its_code() {
    let cases: [(&[Pdu], ErrorCode); 6] = [
        (&[prefix(true, 1), prefix(true, 1)], ErrorCode::DUPLICATE_ANNOUNCEMENT),
        (&[prefix(false, 1)], ErrorCode::WITHDRAWAL_OF_UNKNOWN),
        (&[Pdu::CacheResponse { session: SESSION }], ErrorCode::CORRUPT_DATA),
        (&[Pdu::CacheReset], ErrorCode::CORRUPT_DATA),
        (&[Pdu::ResetQuery], ErrorCode::CORRUPT_DATA),
        (&[Pdu::EndOfData { session: 9, serial: 1, intervals: None }], ErrorCode::CORRUPT_DATA),
    ];
    for (pdus, code) in cases {
        let mut router = router(CacheSettings::default());
        router.connect();
        router.receive(&Pdu::CacheResponse { session: SESSION });
        let actions = pdus.iter().fold(Vec::new(), |_, pdu| router.receive(pdu));
        assert_eq!(refused(&actions), code, "{pdus:?}");
        assert_eq!(router.client.phase(), Phase::Down);
    }
}

/// RFC 8210 §5.11: no Error Report about an Error Report.
#[test]
fn an_error_report_is_not_answered() {
    let mut router = router(CacheSettings::default());
    router.synchronize(&[1], 10);
    let report = Pdu::ErrorReport { code: ErrorCode::INTERNAL_ERROR, text: String::new() };
    assert_eq!(router.receive(&report), [Action::Close]);
    assert_eq!(router.asns(), [1], "what was there counts on");
    router.now += Duration::from_secs(2);
    assert_eq!(router.connect().1, Pdu::ResetQuery);
}

#[test]
fn a_cache_with_more_vrps_than_it_may_have_is_refused_and_what_was_there_stays() {
    let mut router = router(CacheSettings { limit: 2, ..CacheSettings::default() });
    router.synchronize(&[1, 2], 10);
    router.receive(&Pdu::SerialNotify { session: SESSION, serial: 11 });
    router.receive(&Pdu::CacheResponse { session: SESSION });
    assert_eq!(refused(&router.receive(&prefix(true, 3))), ErrorCode::INTERNAL_ERROR);
    assert_eq!(router.asns(), [1, 2]);
}

#[test]
fn a_cache_that_owes_an_answer_for_a_minute_is_gone() {
    let mut router = router(CacheSettings::default());
    router.connect();
    assert_eq!(router.wait(59), []);
    assert_eq!(router.wait(1), [Action::Close]);
    assert_eq!(router.client.phase(), Phase::Down);
}

#[test]
fn attempts_come_less_and_less_often_up_to_the_retry_interval() {
    let mut router = router(CacheSettings { retry: Some(10), ..CacheSettings::default() });
    for wait in [0, 2, 4, 8, 10, 10] {
        if wait > 0 {
            assert_eq!(router.wait(wait - 1), []);
        }
        assert_eq!(router.wait(wait.min(1)), [Action::Connect]);
        router.input(Input::Closed("refused".to_owned()));
    }
}

/// RFC 8210 §6 bounds what a cache may say; what is configured counts as it is.
#[test]
fn intervals_out_of_bounds_are_brought_in() {
    let mut router = router(CacheSettings { expire: Some(10), ..CacheSettings::default() });
    router.synchronize(&[1], 1);
    assert_eq!(router.client.timing().1, Intervals { refresh: 9, retry: 9, expire: 10 });
    let mut other = self::router(CacheSettings::default());
    other.connect();
    other.receive(&Pdu::CacheResponse { session: SESSION });
    let intervals = Some(Intervals { refresh: 0, retry: u32::MAX, expire: u32::MAX });
    other.receive(&Pdu::EndOfData { session: SESSION, serial: 1, intervals });
    assert_eq!(other.client.timing().1, Intervals { refresh: 1, retry: 7_200, expire: 172_800 });
}

/// RFC 8210 §10.
#[test]
fn the_preferred_cache_counts_and_one_in_touch_comes_before_one_that_is_not() {
    let prefer = |preference| CacheSettings { preference, ..CacheSettings::default() };
    let mut routers = [router(prefer(1)), router(prefer(1)), router(prefer(2))];
    let used = |routers: &[Router; 3]| in_use(routers.iter().map(|router| &router.client));
    assert!(used(&routers).is_empty());
    routers[2].synchronize(&[1], 1);
    assert_eq!(used(&routers), [2]);
    routers[0].synchronize(&[1], 1);
    routers[1].synchronize(&[1], 1);
    assert_eq!(used(&routers), [0, 1]);
    routers[0].input(Input::Closed(String::new()));
    routers[1].input(Input::Closed(String::new()));
    assert_eq!(used(&routers), [2]);
    routers[2].input(Input::Closed(String::new()));
    assert_eq!(used(&routers), [0, 1]);
}
