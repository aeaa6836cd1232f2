use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

/// Expects exactly the findings `expected` (kind, text) in `text`.
fn check(text: &str, expected: &[(Kind, &str)]) {
    let found: Vec<(Kind, &str)> =
        scan_text(text).iter().map(|finding| (finding.kind, &text[finding.start..finding.end])).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn each_kind_is_found_where_shape_checksum_or_cue_says_so() {
    for (text, kind, value) in [
        ("Seen by Dr. Amelia Stone today", Kind::Name, "Amelia Stone"),
        ("My name is Jonas Weber, hello", Kind::Name, "Jonas Weber"),
        ("lives at 221 Baker Street now", Kind::Address, "221 Baker Street"),
        ("send it to PO Box 4217 please", Kind::Address, "PO Box 4217"),
        ("Nassaustraat 123 is closed", Kind::Address, "Nassaustraat 123"),
        ("Springfield, IL 62704 is near", Kind::Zip, "62704"),
        ("my zip code is 90210", Kind::Zip, "90210"),
        ("born in SW1A 2AA", Kind::Zip, "SW1A 2AA"),
        ("admitted on 03/14/2019 at night", Kind::Date, "03/14/2019"),
        ("since 2003-08-28 12:13:52 it", Kind::Date, "2003-08-28 12:13:52"),
        ("on March 3rd, 2021 we", Kind::Date, "March 3rd, 2021"),
        ("on the 4th of July we", Kind::Date, "4th of July"),
        ("december the fifth, 2025 is", Kind::Date, "december the fifth, 2025"),
        ("a 93 year old man", Kind::Age, "93"),
        ("a ninety-one-year-old woman", Kind::Age, "ninety-one"),
        ("call (602) 272-9781 now", Kind::Phone, "(602) 272-9781"),
        ("ring 905-674-3793", Kind::Phone, "905-674-3793"),
        ("ring +41 (0)85 806 98 67", Kind::Phone, "+41 (0)85 806 98 67"),
        ("texts to 09066612661 cost", Kind::Phone, "09066612661"),
        ("call me on 9472 7916 soon", Kind::Phone, "9472 7916"),
        ("Fax: 463-612-6138", Kind::Fax, "463-612-6138"),
        ("write to jane.roe@example.org.", Kind::Email, "jane.roe@example.org"),
        ("SSN 460-89-9847", Kind::Ssn, "460-89-9847"),
        ("MRN: 00482913", Kind::MedicalRecord, "00482913"),
        ("member ID XZ-4420193", Kind::HealthPlan, "XZ-4420193"),
        ("account number 40229187", Kind::Account, "40229187"),
        ("pay 4111 1111 1111 1111 today", Kind::Card, "4111 1111 1111 1111"),
        ("wire GB82WEST12345698765432 it", Kind::Iban, "GB82WEST12345698765432"),
        ("passport number X1234567", Kind::Certificate, "X1234567"),
        ("car 1M8GDM9AXKP042788 sold", Kind::Vin, "1M8GDM9AXKP042788"),
        ("licence plate AB12 CDE left", Kind::Plate, "AB12 CDE"),
        ("serial number SN-99812-A", Kind::Device, "SN-99812-A"),
        ("card 00:1B:44:11:3A:B7 down", Kind::Device, "00:1B:44:11:3A:B7"),
        ("see https://example.org/a?b=1.", Kind::Url, "https://example.org/a?b=1"),
        ("see www.example.org/x now", Kind::Url, "www.example.org/x"),
        ("from 106.31.73.20 again", Kind::Ip, "106.31.73.20"),
        ("from 2001:db8::8a2e:370:7334 again", Kind::Ip, "2001:db8::8a2e:370:7334"),
        ("track order 370795561790 please", Kind::Reference, "370795561790"),
        ("the bill #37777?", Kind::Reference, "37777"),
    ] {
        check(text, &[(kind, value)]);
    }
}

#[test]
fn ordinary_text_is_left_alone() {
    for text in [
        "I was charged $120 twice in 2019 and 2020, a total of 1,200.50 dollars.",
        "Blood pressure 150/90, pulse 88, HbA1c 64, 58-year-old male, ejection fraction of 35 percent.",
        "Version 1.2.3.4 of the app, error 0x80 at 12:30:45.",
        "He may 2 times a day march 10 miles; call me in 5 minutes, section 3.2.1.",
        "Take 2 tablets of 500 mg, 3 times daily for 10 days.",
        "Please order 300 units by Monday, the case is closed.",
        "A 10 minute drive to the main street, suite booked for two nights.",
        "Dear Sir, dear all, Dr. and nurse agreed.",
        "Card 1234567890123 is not a payment number without its checksum? No: 1234567890123 alone."
            .split(':')
            .next_back()
            .unwrap(),
        "Replace O-ring at 1000 HR, RH120C lip, 85/140 oil, EX-17.",
        "The ratio 1:2:3 and the score 21-15, 7-6, 4.5.",
    ] {
        check(text, &[]);
    }
}

#[test]
fn tags_are_no_identifiers_and_findings_never_overlap() {
    check("call [PHONE-3f9a1c20] or order [REFERENCE-00000001]", &[]);
    check("mail [EMAIL]", &[]);
    let text = "Dr. Ana Lopez, 12 Elm Street, ana@x.org, 602-272-9781, order 370795561790, 03/14/2019";
    let findings = scan_text(text);
    assert_eq!(findings.len(), 6, "{findings:?}");
    assert!(findings.windows(2).all(|pair| pair[0].end <= pair[1].start));
}

#[test]
fn pseudonyms_are_consistent_keyed_and_separate_by_corpus() {
    let text = "call 602-272-9781 or (602) 272 9781, fax 602-272-9781";
    let ours = deidentify_text(text, &Replacement::pseudonyms(b"key", "corpus"));
    let tags: Vec<&str> = ours.split(['[', ']']).skip(1).step_by(2).collect();
    assert_eq!(tags.len(), 3, "{ours}");
    assert_eq!(tags[0], tags[1], "one number, two spellings");
    assert!(tags[2].starts_with("FAX-"));
    for other in [Replacement::pseudonyms(b"other", "corpus"), Replacement::pseudonyms(b"key", "other")] {
        assert!(!deidentify_text(text, &other).contains(tags[0]));
    }
    assert_eq!(mask_text("call 602-272-9781"), "call [PHONE]");
    assert_eq!(format!("{:?}", Replacement::pseudonyms(b"key", "corpus")), "Replacement(pseudonyms)");
}

proptest::proptest! {
    #[test]
    fn any_text_scans_without_panic_and_is_clean_after(text in "[\\PC\\n]{0,60}", cue in "(call |order |account |Dr. |SSN |fax |)", number in "[0-9 ()./:-]{0,24}") {
        let text = format!("{text} {cue}{number}");
        for replacement in [Replacement::mask(), Replacement::pseudonyms(b"k", "c")] {
            let clean = deidentify_text(&text, &replacement);
            proptest::prop_assert!(scan_text(&clean).is_empty(), "{:?}", clean);
        }
    }
}

fn outside_data(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// By the file's own kind: labelled spans, those found whole, those found at least in part.
type Recall = BTreeMap<String, (u32, u32, u32)>;

/// The table for one labelled file, and a line for each span that was missed.
fn recall(file: &str) -> Option<(Recall, Vec<String>)> {
    let text = std::fs::read_to_string(outside_data(file)?).unwrap();
    let documents: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut table: Recall = BTreeMap::new();
    let mut missed = Vec::new();
    for document in documents.as_array().unwrap() {
        let text = document["full_text"].as_str().unwrap();
        let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let findings = scan_text(text);
        for span in document["spans"].as_array().unwrap() {
            let place = |key: &str| offsets[span[key].as_u64().unwrap() as usize];
            let (start, end) = (place("start_position"), place("end_position"));
            let value = &text[start..end];
            let kind = match span["entity_type"].as_str().unwrap() {
                "DATE_TIME" if !value.contains(['/', '-']) => "DATE_TIME (year or weekday: no identifier)",
                "AGE" if value.parse::<u32>().map_or(true, |age| age < 90) => "AGE (below 90: no identifier)",
                kind => kind,
            };
            let covered: usize =
                findings.iter().map(|finding| finding.end.min(end).saturating_sub(finding.start.max(start))).sum();
            let entry = table.entry(kind.to_owned()).or_default();
            entry.0 += 1;
            entry.1 += u32::from(covered >= value.trim().len());
            entry.2 += u32::from(covered > 0);
            if covered == 0 {
                let line: String = text.chars().take(400).collect();
                missed.push(format!("{kind}\t{value:?}\t{line:?}"));
            }
        }
    }
    Some((table, missed))
}

#[test]
fn recall_on_labelled_texts_does_not_fall() {
    let Some((table, _)) = recall("deid/synth_dataset_v2.json") else { return };
    for (kind, least_percent) in [
        ("EMAIL_ADDRESS", 100),
        ("DOMAIN_NAME", 100),
        ("US_SSN", 100),
        ("IP_ADDRESS", 100),
        ("IBAN_CODE", 100),
        ("CREDIT_CARD", 95),
        ("PHONE_NUMBER", 85),
        ("DATE_TIME", 95),
    ] {
        let (all, _, some) = table[kind];
        assert!(some * 100 >= all * least_percent, "{kind}: {some} of {all}");
    }
}

/// Prints what IDENTIFIERS.md states (`--nocapture`), and wants the findings of each corpus to be as many as stand there.
#[test]
fn findings_are_as_many_as_documented() {
    let documented = include_str!("../../../IDENTIFIERS.md");
    for file in ["deid/synth_dataset_v2.json", "deid/generated_small.json"] {
        let Some((table, missed)) = recall(file) else { return };
        println!("{file}");
        for (kind, (all, whole, some)) in table {
            println!("| {kind} | {all} | {whole} | {some} | {:.1} % |", 100.0 * f64::from(some) / f64::from(all));
        }
        let shown = ["PHONE", "ZIP", "CREDIT", "IBAN", "DATE_TIME\t"];
        missed
            .iter()
            .filter(|line| shown.iter().any(|kind| line.starts_with(kind)))
            .for_each(|line| println!("  missed {line}"));
    }
    for name in ["banking77", "bitext_support", "snips", "excavators", "sms_spam", "mts_dialog"] {
        let Some(path) = outside_data(&format!("corpora/{name}.parquet")) else { return };
        let mut examples: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let report = scan_files(&[path], Some(&["prompt".to_owned(), "completion".to_owned()]), &mut |found| {
            examples.entry(found.kind.name()).or_default().push(found.excerpt.clone());
        })
        .unwrap();
        println!("{name}: {} findings in {} rows", report.total(), report.rows);
        let row = documented.lines().find(|line| line.starts_with(&format!("| {name} |"))).expect("a row of the table");
        let count = row.split('|').nth(3).expect("a third column").trim().split(" (").next().unwrap_or_default();
        let digits: String =
            count.chars().take_while(|c| c.is_ascii_digit() || *c == ' ').filter(char::is_ascii_digit).collect();
        assert_eq!(digits, report.total().to_string(), "{name}");
        for (kind, found) in examples {
            let some: Vec<&String> = found.iter().step_by(found.len().div_ceil(6)).collect();
            println!("  {kind} {}: {some:?}", found.len());
        }
    }
}
