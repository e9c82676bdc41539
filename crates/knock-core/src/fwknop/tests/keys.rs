//! Files of keys.

use super::*;
use crate::fwknop::KeyFile;

const GENERATED: &str = "KEY_BASE64: 9a4xjHKfB89jXs4eDGyClmDtNqbNmczoHCWIUBzCLkE=\n\
    HMAC_KEY_BASE64: 3sLV5685ahvolVNdJsk9WsG6tVfP9FW4xsWBQUyzyuCDCyQPPC5ncJ+z3zTnSAvKMUmNrrFK0Rz7dI54gX6cKQ==\n";
const HMAC: &str = "HMAC_KEY: b\n";

fn parse(key: &str, hmac: &str) -> Result<FwknopKeys, crate::fwknop::KeyFault> {
    FwknopKeys::parse(key.as_bytes(), hmac.as_bytes())
}

#[test]
fn the_same_key_can_be_written_in_many_ways() {
    let expected = parse("KEY: a", "HMAC_KEY: b").unwrap().identity();
    for key in [
        "KEY a\n",
        "  KEY:\ta \r\n",
        "# mine\n\nKEY a",
        "KEY_BASE64 YQ==",
        "KEY_BASE64: YQ",
        "HMAC_KEY c\nKEY a",
    ] {
        assert_eq!(parse(key, HMAC).unwrap().identity(), expected, "{key:?}");
    }
    for hmac in ["HMAC_KEY b", "HMAC_KEY_BASE64: Yg==", "KEY c\nHMAC_KEY b"] {
        assert_eq!(parse("KEY a", hmac).unwrap().identity(), expected, "{hmac:?}");
    }
}

#[test]
fn what_key_gen_writes_is_both_files() {
    let keys = parse(GENERATED, GENERATED).unwrap();
    assert_eq!((keys.cipher().len(), keys.hmac().len()), (32, 64));
}

#[test]
fn keys_are_told_apart_and_not_shown() {
    let identity = |key: &str, hmac: &str| parse(key, hmac).unwrap().identity();
    let all = [
        identity("KEY ab", "HMAC_KEY c"),
        identity("KEY a", "HMAC_KEY bc"),
        identity("KEY c", "HMAC_KEY ab"),
    ];
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    assert_eq!(format!("{:?}", parse("KEY sesame", HMAC).unwrap()), "FwknopKeys { .. }");
}

#[test]
fn anything_else_is_an_error_that_does_not_repeat_it() {
    let long = "KEY sesame".to_owned() + &"x".repeat(27);
    for (key, line, words) in [
        ("", None, "found no key"),
        ("HMAC_KEY sesame", None, "found no key"),
        ("sesame", Some(1), "something else"),
        ("\nsesame", Some(2), "something else"),
        ("key sesame", Some(1), "something else"),
        ("KEY=sesame", Some(1), "something else"),
        ("[default]\nKEY sesame", Some(1), "something else"),
        ("KEY", Some(1), "behind the name"),
        ("KEY_BASE64: =", Some(1), "behind the name"),
        ("KEY: __CHANGEME__", Some(1), "yet to be made"),
        ("KEY: my sesame", Some(1), "base64 -w0"),
        ("KEY: sesame;", Some(1), "base64 -w0"),
        ("KEY: sesame#", Some(1), "base64 -w0"),
        ("KEY_BASE64: sesame!", Some(1), "not base64"),
        ("KEY_BASE64: sesame YQ", Some(1), "not base64"),
        ("KEY_BASE64: YR==", Some(1), "not base64"),
        ("KEY sesame\nKEY_BASE64 YQ==", Some(2), "second key"),
        (&long, Some(1), "33 bytes, expected at most 32"),
    ] {
        let fault = parse(key, HMAC).unwrap_err();
        assert_eq!((fault.file, fault.line), (KeyFile::Key, line), "{key:?}");
        let said = fault.to_string();
        assert!(
            said.contains(words) && !said.contains("sesame") && !format!("{fault:?}").contains("sesame"),
            "{said}"
        );
    }
    let fault = FwknopKeys::parse(b"KEY a", b"HMAC_KEY \xff").unwrap_err();
    assert_eq!((fault.file.directive(), fault.line), ("fwknop_hmac", None));
    let longest = |length| parse("KEY a", &format!("HMAC_KEY {}", "x".repeat(length)));
    assert!(longest(128).is_ok() && longest(129).is_err());
}
