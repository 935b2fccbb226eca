//! Errors that user code returns and meets: `?` converts any of them, and keeps the place where it happened.

use crate::support::{cx, fault};
use std::error::Error as StdError;
use std::sync::Arc;
use tryworks::prelude::*;
use tryworks::runner::{JobControl, JobRequest, PlanForm, Releasable, Runner};
use tryworks::{Progress, Site, UserError};

/// Fails in a different way for each number.
fn odd(n: u64) -> Result<u64, UserError> {
    match n {
        0 => Err("a message")?,
        1 => Err(format!("a message about {n}"))?,
        2 => Ok(Err::<u64, Box<dyn StdError + Send + Sync>>("a boxed one".into())?),
        3 => Ok("x".parse::<u64>()?),
        4 => Err(std::io::Error::other("a file"))?,
        5 => Err(UserError::msg("one of ours")),
        6 => Err(Error::Cancelled)?,
        7 => Ok(String::from_utf8(vec![0xff]).map(|text| text.len() as u64)?),
        n => Ok(n),
    }
}

#[test]
fn every_error_that_a_function_returns_is_reported() -> Result<()> {
    let told = [
        "a message",
        "a message about 1",
        "a boxed one",
        "invalid digit found in string",
        "a file",
        "one of ours",
        "the job was cancelled",
        "invalid utf-8 sequence of 1 bytes from index 0",
    ];
    let cx = cx();
    for (n, told) in (0..).zip(told) {
        let one = cx.range_in(n..n + 1, 1);
        let errors = [
            one.try_map(odd).count().unwrap_err(),
            one.try_filter(|n| Ok(odd(*n)? > 0)).count().unwrap_err(),
            one.try_flat_map(|n| Ok([odd(n)?])).count().unwrap_err(),
            one.try_for_each(|n| odd(n).map(drop)).unwrap_err(),
            one.with(1u8).try_map(|_, n| odd(n)).count().unwrap_err(),
            one.with(1u8).try_filter(|_, n| Ok(odd(*n)? > 0)).count().unwrap_err(),
            one.with(1u8).try_flat_map(|_, n| Ok([odd(n)?])).count().unwrap_err(),
            one.with(1u8).try_for_each(|_, n| odd(n).map(drop)).unwrap_err(),
            one.with_init(n, |n| odd(*n)).map(|_, n| n).count().unwrap_err(),
        ];
        for error in errors {
            let fault = fault(error);
            assert!(fault.message.starts_with(told) && !fault.panicked, "{fault}");
            let source = fault.source.unwrap();
            assert!(source.file.ends_with("fallible.rs") && (12..=21).contains(&source.line), "{fault}");
        }
    }
    // With the place written in the source.
    let short = cx.range(0..3).try_map(|n| if n < 2 { Ok(n) } else { Err("too large")? });
    assert_eq!(fault(short.count().unwrap_err()).message, "too large");
    let short = cx.range(0..3).try_map(|n| if n < 2 { Ok(n) } else { Err(format!("{n} is too large").into()) });
    assert_eq!(fault(short.count().unwrap_err()).message, "2 is too large");
    Ok(())
}

#[test]
fn a_program_goes_on_with_question_marks_between_its_jobs() {
    fn program(step: u32) -> tryworks::Result<u64> {
        let cx = Context::local(1)?;
        let text = match step {
            0 => std::fs::read_to_string("/no/such/file")?,
            1 => String::from_utf8(vec![0xff])?,
            2 => Err("a message")?,
            3 => Err(format!("a message about {step}"))?,
            4 => Err::<String, Box<dyn StdError>>("a boxed one".into())?,
            5 => Err::<String, Box<dyn StdError + Send + Sync>>("one for all threads".into())?,
            6 => Err::<String, UserError>(UserError::msg("one of ours"))?,
            7 => std::env::var("NO_SUCH_VARIABLE_AT_ALL")?,
            8 => "x1".into(),
            _ => "12".into(),
        };
        cx.range(0..text.parse::<u64>()?).count()
    }
    let told = [
        "No such file or directory (os error 2)",
        "invalid utf-8 sequence of 1 bytes from index 0",
        "a message",
        "a message about 3",
        "a boxed one",
        "one for all threads",
        "one of ours",
        "environment variable not found",
        "invalid digit found in string",
    ];
    for (step, told) in (0..).zip(told) {
        let error = program(step).unwrap_err();
        let text = error.to_string();
        let Error::Program { message, site } = error else { panic!("another kind of error: {error}") };
        assert_eq!(message, told);
        assert!(site.file.ends_with("fallible.rs") && text == format!("{told}\n  in {site}"), "{text}");
    }
    assert_eq!(program(9), Ok(12));
}

#[test]
fn an_error_says_which_try_of_its_task_it_was_not_how_many_tasks_there_were() -> Result<()> {
    let cx = cx();
    for _ in 0..20 {
        assert_eq!(cx.range_in(0..10, 5).count()?, 10);
    }
    for error in [
        cx.range_in(0..10, 5).try_map(|n| if n == 7 { Err("seven")? } else { Ok(n) }).count().unwrap_err(),
        cx.range_in(0..10, 5).map(|n| assert_ne!(n, 7)).count().unwrap_err(),
    ] {
        assert!(error.to_string().contains("partition 3, attempt 1"), "{error}");
        let place = fault(error).place;
        assert!(place.tries == 1 && place.attempt > 100, "{place:?}");
    }
    Ok(())
}

/// A driver whose jobs return bytes that are no result.
struct Garbled;

impl Runner for Garbled {
    fn submit(&self, _: JobRequest) -> Result<Arc<dyn JobControl>> {
        Ok(Arc::new(Garbled))
    }

    fn explain(&self, _: &Arc<tryworks_core::lineage::Node>, _: PlanForm) -> Result<String> {
        Ok(String::new())
    }

    fn release(&self, _: Releasable) {}
}

impl JobControl for Garbled {
    fn id(&self) -> u64 {
        1
    }

    fn next(&self) -> Result<Option<(u32, Box<dyn tryworks_core::stage::ResultValue>)>> {
        // A result of the right type with damaged bytes.
        let mut bytes = Vec::new();
        tryworks_core::stage::ResultValue::encode(&Vec::<String>::new(), &mut bytes)?;
        bytes.pop();
        bytes.extend([0xff; 3]);
        Ok(Some((0, Box::new(tryworks_core::stage::Encoded(bytes)))))
    }

    fn guard(&self, code: &mut dyn FnMut()) -> Result<()> {
        code();
        Ok(())
    }

    fn cancel(&self) {}

    fn progress(&self) -> Progress {
        Progress::default()
    }
}

impl Sources for Garbled {
    fn runner(&self) -> Arc<dyn Runner> {
        Arc::new(Garbled)
    }
}

#[test]
fn a_result_that_cannot_be_decoded_fails_with_the_call_of_the_action() {
    let rows = Garbled.range(0..3).map(|n| n.to_string());
    let (error, here) = (rows.collect().unwrap_err(), Site::caller());
    let text = error.to_string();
    assert!(text.contains("cannot be decoded") && text.contains("String"), "{text}");
    assert!(text.contains(&format!("{}:{}:", here.file, here.line)), "{text}, not at {here}");
}

#[test]
fn a_plain_boxed_error_becomes_a_message_and_one_that_may_be_sent_needs_none() {
    fn plain(text: &str) -> Result<u64, Box<dyn std::error::Error>> {
        Ok(text.parse()?)
    }
    fn sent(text: &str) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        Ok(text.parse()?)
    }
    fn between_jobs() -> Result<u64> {
        Ok(plain("three")?)
    }
    let cx = cx();
    let texts = cx.parallelize(["1", "three"].map(String::from));
    let errors = [
        texts.try_map(|text| Ok(plain(&text).map_err(|error| error.to_string())?)).sum(),
        texts.try_map(|text| Ok(sent(&text)?)).sum(),
        between_jobs(),
    ];
    for error in errors {
        assert!(error.unwrap_err().to_string().contains("invalid digit"));
    }
}
