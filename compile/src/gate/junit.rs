//! The report as JUnit XML: one test case an eval case, and one a condition.
//!
//! A test fails only for what the verdict fails on: a wrong answer that the gate allows is skipped with its answer, a regression
//! fails when `max-regressions` or `max-drop` is not met. So the colour of the run is the verdict's.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use kolm_runtime::eval::Ppm;

use super::{Report, Verdict};

pub(super) fn xml(report: &Report) -> String {
    let mut run = quick_junit::Report::new("kolm gate");
    if let Some(measured) = &report.measured {
        let compared = |name: &str| name == "max-regressions" || name == "max-drop";
        let fails = report.conditions.iter().any(|condition| compared(condition.name) && !condition.met);
        let lost: Vec<&str> = match &report.baseline {
            Some(baseline) if fails => baseline.answers.lost.iter().map(|flip| flip.id.as_str()).collect(),
            _ => Vec::new(),
        };
        let mut cases = TestSuite::new("eval cases");
        for case in &measured.cases {
            let said = format!("expected {}, answered {}, score {}", case.expected, case.answer, case.score);
            let status = if lost.contains(&case.id.as_str()) {
                failed(&format!("right in the baseline: {said}"))
            } else if case.score == Ppm::ONE {
                TestCaseStatus::success()
            } else {
                let mut status = TestCaseStatus::skipped();
                status.set_message(said);
                status
            };
            cases.add_test_case(test("eval", &case.id, status));
        }
        run.add_test_suite(cases);
    }
    let mut gate = TestSuite::new("gate");
    for condition in &report.conditions {
        let status = match condition.met {
            true => TestCaseStatus::success(),
            false => failed(&format!("{}, expected {}", condition.found, condition.expected)),
        };
        gate.add_test_case(test("gate", condition.name, status));
    }
    if let Some(error) = &report.error {
        gate.add_test_case(test("gate", error.code, failed(&error.message)));
    } else if report.verdict == Verdict::Refused {
        gate.add_test_case(test("gate", "measured", failed("nothing was measured")));
    }
    run.add_test_suite(gate);
    let mut text = run.to_string().expect("XML is written to memory");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn test(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(class);
    case
}

fn failed(message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(message);
    status
}
