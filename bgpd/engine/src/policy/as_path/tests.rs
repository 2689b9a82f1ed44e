//! Expressions against paths.

use bgp_wire::attribute::AsPath;
use proptest::prelude::*;

use super::*;

fn matches(pattern: &str, path: &str) -> bool {
    let mut value = Vec::new();
    path.parse::<AsPath>().expect("a path").encode_value(&mut value);
    pattern.parse::<AsPathPattern>().unwrap_or_else(|invalid| panic!("{invalid}")).matches(&value)
}

#[test]
fn an_expression_is_looked_for_anywhere_unless_it_is_anchored() {
    assert!(matches("65002", "65001 65002 65003"));
    assert!(!matches("^65002", "65001 65002 65003"));
    assert!(matches("^65001 65002", "65001 65002 65003"));
    assert!(matches("65003$", "65001 65002 65003"));
    assert!(matches("^65001|65009$", "65003 65009"));
    assert!(!matches("65001 65003", "65001 65002 65003"));
}

#[test]
fn numbers_are_whole_so_that_the_border_sign_only_separates() {
    // Over text 5001 would be found within 65001.
    assert!(!matches("5001", "65001"));
    assert!(matches("_65001_", "65001") && matches("_65001_", "1 65001 2"));
    assert!(matches("^65001_", "65001") && matches("_65002$", "65001 65002"));
    assert!(matches("^65001_65002$", "65001 65002") && matches("^65001 65002$", "65001 65002"));
}

#[test]
fn the_empty_path_has_a_beginning_and_an_end() {
    assert!(matches("^$", "") && matches(".*", "") && matches("", ""));
    assert!(!matches("^$", "65001") && !matches(".", ""));
}

#[test]
fn classes_and_ranges_stand_for_one_number() {
    let pattern = "^65001 .* [65010-65020]$";
    assert!(matches(pattern, "65001 65015") && matches(pattern, "65001 1 2 3 65020"));
    assert!(!matches(pattern, "65001 65021") && !matches(pattern, "65001"));
    assert!(matches("^[^65001]$", "65002") && !matches("^[^65001]$", "65001"));
    assert!(!matches("[^65001]", ""), "the ends of a path are no AS numbers");
    assert!(matches("^[64512-65534, 4200000000-4294967294]+$", "65000 4200000001"));
}

#[test]
fn repetitions_count_numbers() {
    assert!(matches("^(65001){3}$", "65001 65001 65001") && !matches("^65001{3}$", "65001 65001"));
    assert!(matches("^.{2,3}$", "1 2") && matches("^.{2,3}$", "1 2 3") && !matches("^.{2,3}$", "1 2 3 4"));
    assert!(matches("^.{2,}$", "1 2 3 4") && !matches("^.{2,}$", "1"));
    assert!(matches("^65001+ (65002 65003)?$", "65001 65001") && matches("^1 (2 3)*$", "1 2 3 2 3"));
    assert!(matches("^1{0,1}2$", "2"));
}

#[test]
fn a_set_is_one_letter_that_can_be_each_of_its_members() {
    assert!(matches("^65001 65003$", "65001 {65002,65003}") && matches("65002$", "65001 {65002,65003}"));
    assert!(!matches("65002 65003", "65001 {65002,65003}"));
    assert!(matches("^65001 65002", "(65001) 65002"));
}

#[test]
fn a_wrong_expression_says_where_and_what_would_be_right() {
    let said = |text: &str| text.parse::<AsPathPattern>().expect_err(text).to_string();
    assert_eq!(said("65001 ("), "\"65001 (\": at character 7: '(' without its ')'");
    assert_eq!(said("65001)"), "\"65001)\": at character 6: ')' without its beginning");
    assert_eq!(
        said("[65020-65010]"),
        "\"[65020-65010]\": at character 2: 65020-65010 is empty, did you mean 65010-65020?"
    );
    assert!(said("*").contains("nothing before it to repeat"));
    assert!(said("4294967296").contains("they end at 4294967295"));
    assert!(said("65001,65002").contains("',' has no meaning here"));
    assert!(said("65001{3,2}").contains("expected {2}, {2,} or {2,4}"));
    assert!(said("(. . . .){99}").contains("more than 256"));
    assert!(said(&"(".repeat(99)).contains("more than 32 parentheses"));
}

/// Matching by trying everything.
fn naive(tree: &Tree, letters: &[Letter]) -> Vec<usize> {
    match tree {
        Tree::Empty => vec![0],
        Tree::Letter(class) => letters.first().filter(|letter| class.holds(**letter)).map(|_| 1).into_iter().collect(),
        Tree::Sequence(parts) => parts.iter().fold(vec![0], |ends, part| {
            let mut next: Vec<usize> = ends
                .iter()
                .flat_map(|&end| naive(part, &letters[end..]).into_iter().map(move |more| end + more))
                .collect();
            next.sort_unstable();
            next.dedup();
            next
        }),
        Tree::Either(parts) => parts.iter().flat_map(|part| naive(part, letters)).collect(),
        Tree::Optional(part) => naive(part, letters).into_iter().chain([0]).collect(),
        Tree::Repeated(part) => {
            let (mut all, mut new) = (Vec::new(), naive(part, letters));
            while let Some(end) = new.pop() {
                if !all.contains(&end) {
                    all.push(end);
                    new.extend(naive(part, &letters[end..]).into_iter().map(|more| end + more));
                }
            }
            all
        }
    }
}

fn expression() -> impl Strategy<Value = String> {
    let letter = prop_oneof![Just("1"), Just("2"), Just("."), Just("[1 3]"), Just("[^2]"), Just("^"), Just("$")];
    let leaf = letter.prop_map(str::to_owned);
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.join(" ")),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join("|"))),
            (inner, prop_oneof![Just("*"), Just("+"), Just("?"), Just("{2}"), Just("{1,}"), Just("{0,2}")])
                .prop_map(|(part, times)| format!("({part}){times}")),
        ]
    })
}

proptest! {
    #[test]
    fn the_automaton_finds_what_trying_everything_finds(
        text in expression(),
        asns in proptest::collection::vec(1..4u32, 0..6),
    ) {
        let Ok(pattern) = text.parse::<AsPathPattern>() else { return Ok(()) };
        let tree = parse::parse(&text).expect("it was parsed");
        let inside = asns.iter().map(|asn| Letter::Asn(*asn));
        let letters: Vec<Letter> = [Letter::Begin].into_iter().chain(inside).chain([Letter::End]).collect();
        let found = (0..=letters.len()).any(|at| !naive(&tree, &letters[at..]).is_empty());
        let mut value = Vec::new();
        AsPath::sequence(&asns).encode_value(&mut value);
        prop_assert_eq!(pattern.matches(&value), found, "{} on {:?}", text, asns);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[0-9.^$_|()\\[\\]{}*+?, -]{0,24}") {
        let _ = text.parse::<AsPathPattern>();
    }
}
