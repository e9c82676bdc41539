use std::collections::HashSet;
use std::process::Command;

use proptest::prelude::*;

use super::*;

const TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// The same, written by somebody who had nothing but the description.
const INDEPENDENT: &str = include_str!("independent.py");

fn key() -> RollingKey {
    RollingKey::from_text(TEXT).unwrap()
}

/// The rows of a table in the module's description: step, first bytes, sequence.
fn vectors() -> Vec<(u64, Vec<u8>, String)> {
    let rows = include_str!("../rolling.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    cells
        .filter_map(|cells| {
            let digits = cells[0].split(',').next()?;
            let bytes = cells[1].replace(['`', ' '], "");
            let bytes = bytes.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
            let bytes = bytes.map(|pair| u8::from_str_radix(pair, 16)).collect::<Result<_, _>>().ok()?;
            Some((digits.parse().ok()?, bytes, cells[2].trim_end_matches(" |").to_owned()))
        })
        .collect()
}

/// What another program makes of a key and some steps.
fn independent(key: &str, steps: &[u64]) -> Vec<String> {
    let mut python = Command::new("python3");
    python.args(["-I", "-c", INDEPENDENT, key]).args(steps.iter().map(u64::to_string));
    let output = python.output().expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_description_has_test_vectors_that_hold() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 5);
    for (step, bytes, sequence) in vectors {
        assert_eq!(key().sequence(step).to_string(), sequence, "{step}");
        let mut stream = vec![0; bytes.len()];
        let info = [SEQUENCE_LABEL, &step.to_be_bytes()].concat();
        Hkdf::<Sha256>::new(None, key().0.as_ref()).expand(&info, &mut stream).unwrap();
        assert_eq!(stream, bytes, "{step}");
    }
}

#[test]
fn another_program_makes_the_same_of_the_description() {
    let other = "Zm9ydHktZm91ciBjaGFyYWN0ZXJzIG9mIGEgc2VjcmU=";
    let steps: Vec<u64> =
        (0..200).chain([4883, 21_580, 59_851_440, u64::from(u32::MAX), u64::MAX - 1, u64::MAX]).collect();
    for text in [TEXT, other] {
        let key = RollingKey::from_text(text).unwrap();
        let ours: Vec<_> = steps.iter().map(|step| key.sequence(*step).to_string()).collect();
        assert_eq!(independent(text, &steps), ours, "{text}");
    }
}

#[test]
fn the_key_file_may_have_remarks_and_nothing_else() {
    let same = ["{}", "{}\n", "\n# the key of ssh\n\n  {}\t\r\n\n#{}\n # {}\n"];
    for form in same {
        let key = RollingKey::from_text(&form.replace("{}", TEXT)).unwrap();
        assert_eq!(key.identity(), self::key().identity(), "{form:?}");
    }
    let cut = &TEXT[..43];
    let refused = [
        (String::new(), "holds no key"),
        (format!("# {TEXT}\n"), "holds no key"),
        (format!("{TEXT}\n{TEXT}\n"), "holds 2 lines that are no remarks, not one"),
        (cut.to_owned(), "has 43 characters, not 44"),
        (format!("{TEXT}A"), "has 45 characters, not 44"),
        (format!("key={TEXT}"), "has 48 characters, not 44"),
        (format!("{TEXT} # mine"), "has 51 characters, not 44"),
        // 33 bytes, 31 bytes, base64url, bits that are not zero behind the last byte, and an umlaut.
        (format!("{cut}A"), "not the base64 of 32 bytes"),
        (format!("{}==", &TEXT[..42]), "not the base64 of 32 bytes"),
        (TEXT.replace("AAE", "-_E"), "not the base64 of 32 bytes"),
        (TEXT.replace("8=", "9="), "not the base64 of 32 bytes"),
        (TEXT.replacen('A', "ä", 1), "not the base64 of 32 bytes"),
        (format!("{}=", "A".repeat(43)), "32 times the same byte"),
        (format!("{}8=", "/".repeat(42)), "32 times the same byte"),
    ];
    for (text, found) in refused {
        let error = RollingKey::from_text(&text).unwrap_err().to_string();
        assert!(error.contains(found), "{text}: {error}");
        assert!(error.contains("head -c 32 /dev/urandom | base64"), "{error}");
        assert!(!error.contains(&TEXT[..8]), "{error}");
    }
}

#[test]
fn what_shows_it_does_not_show_the_key() {
    assert_eq!(format!("{:?}", key()), "RollingKey { .. }");
    assert_ne!(key().identity(), *key().0);
    let mut other = *key().0;
    other[31] ^= 1;
    assert_ne!(RollingKey::from_bytes(&other).unwrap().identity(), key().identity());
}

#[test]
fn a_step_lasts_half_a_minute() {
    let steps = [(0, 0), (29, 0), (30, 1), (59, 1), (1_795_543_199, 59_851_439), (1_795_543_200, 59_851_440)];
    for (seconds, step) in steps {
        assert_eq!(step_at(seconds), step, "{seconds}");
    }
    assert_eq!(accepted(7), 6..=8);
    assert_eq!(accepted(0), 0..=1);
    assert_eq!(accepted(u64::MAX), u64::MAX - 1..=u64::MAX);
}

#[test]
fn what_is_remembered_of_a_step_is_its_beginning() {
    let used = use_of(59_851_440);
    assert_eq!(used.time, 1_795_543_200_000_000_000);
    assert_ne!(used.id, use_of(59_851_441).id);
    assert_ne!(use_of(u64::MAX).id, use_of(u64::MAX - 1).id, "at the end of time the number still tells");
}

/// All ports from 1024 on occur about equally often, at each place, with each protocol.
#[test]
fn no_port_is_likelier_than_another() {
    const STEPS: u64 = 40_000;
    const BUCKETS: usize = 63;
    let mut seen = vec![[[0_u32; 2]; BUCKETS]; KNOCKS];
    for step in 0..STEPS {
        for (place, knock) in key().sequence(step).steps().iter().enumerate() {
            seen[place][usize::from(knock.port / 1024) - 1][usize::from(knock.protocol == Protocol::Udp)] +=
                1;
        }
    }
    // The steps are always the same, so this cannot fail by chance; it is five standard deviations.
    let expected = STEPS as f64 / (BUCKETS * 2) as f64;
    for count in seen.iter().flatten().flatten() {
        assert!((f64::from(*count) - expected).abs() < 5.0 * expected.sqrt(), "{count} of {expected}");
    }
}

proptest! {
    #[test]
    fn a_sequence_can_be_knocked(bytes in any::<[u8; 32]>(), step in any::<u64>()) {
        let key = RollingKey::from_bytes(&bytes).unwrap();
        let sequence = key.sequence(step);
        let distinct: HashSet<_> = sequence.steps().iter().collect();
        prop_assert_eq!((sequence.steps().len(), distinct.len()), (KNOCKS, KNOCKS));
        prop_assert!(sequence.steps().iter().all(|knock| knock.port >= 1024));
        prop_assert_eq!(Sequence::parse(&sequence.to_string()).unwrap(), sequence.clone());
        prop_assert_ne!(key.sequence(step ^ 1), sequence);
    }

    #[test]
    fn any_text_is_read(text in "\\PC{0,60}|[A-Za-z0-9+/=\\n# ]{40,90}") {
        let _ = RollingKey::from_text(&text);
    }
}
