//! Guards that cannot put back what was before, or do not answer: the rest goes on, and somebody is told.

use super::*;

/// The trial of `near0`, once its roll-back has failed.
fn failing() -> Value {
    let trial = || answer(&["status"])["interfaces"][0]["trial"].clone();
    wait_for("a roll-back that fails", || trial()["failure"].is_string());
    trial()
}

#[test]
fn a_roll_back_that_fails_is_told_and_tried_again() {
    let (sandbox, veth) = need!(bench(&[]));
    add_other();
    attach("xdp_drop", &[]);
    let before = near();
    xdpload(&["attach", "other0", &object("xdp_pass")]).ok();
    let guard = Guard::of(&answer(&["detach", NEAR, SHORT]));
    // Too long for the program that is to be attached again.
    veth.set_mtu(9000);
    let trial = failing();
    assert_eq!(
        (&trial["guard"], &trial["puts_back"]),
        (&json!(guard.0), &json!([before.as_ref().unwrap().1]))
    );
    assert!(text(&trial["failure"]).contains("ERANGE"), "{trial}");
    assert!((0.0..=60.0).contains(&trial["seconds_left"].as_f64().expect("it is a number")), "{trial}");
    let words = "on trial: the time is up, but the roll-back fails, and is tried again for ";
    let ran = xdpload(&["status"]).ok().stdout_has(words).stdout_has("other0 (");
    ran.stdout_has("; run `xdpload confirm near0` to keep the change\n");
    guard.has_logged("failed, and is tried again: ");
    // A service manager that ends it does not hear of it earlier.
    guard.signal(Signal::SIGTERM);
    assert_eq!(failing()["guard"], guard.0);
    veth.set_mtu(1500);
    guard.ends();
    assert_eq!(near(), before);

    let guard = Guard::of(&answer(&["detach", NEAR, SHORT]));
    veth.set_mtu(9000);
    failing();
    xdpload(&["confirm"]).ok().stdout_has("near0 stays without the program that was detached");
    guard.ends();
    guard.has_logged("the change of `near0` is confirmed");
    veth.set_mtu(1500);
    xdpload(&["detach", "other0"]).ok();
    assert_eq!((near(), sandbox.pins()), (None, vec![]));
}

#[test]
fn a_guard_that_is_stopped_holds_up_nobody_else() {
    let (sandbox, _veth) = need!(bench(&[]));
    add_other();
    let stopped = Guard::of(&attach("xdp_drop", &[LONG]));
    let other = Guard::of(&answer(&["attach", "other0", &object("xdp_pass"), LONG]));
    stopped.signal(Signal::SIGSTOP);
    let silent = format!("the guard, process {}, is stopped and does not answer", stopped.0);
    let ran = xdpload(&["status"]).ok().stdout_has(&format!("  on trial: {silent}\n"));
    ran.stdout_has("xdp_drop").stdout_has("on trial: run `xdpload confirm other0` within ");
    let status = answer(&["status", NEAR])["interfaces"][0].clone();
    assert_eq!((&status["trial_error"], &status["trial"]), (&json!(silent), &Value::Null));

    let why = format!("error: the change of `near0`: {silent}");
    let help = format!("  help: kill -CONT {} lets it go on\n", stopped.0);
    xdpload(&["confirm"]).fails(1).stdout_has("stays on other0").stderr_has(&why).stderr_has(&help);
    other.ends();
    let unknown = format!("{why}, so that nothing is known to be confirmed\n");
    xdpload(&["confirm", NEAR]).fails(1).stderr_has(&unknown).stderr_has(&help);

    stopped.signal(Signal::SIGCONT);
    // It hears now what it was asked meanwhile.
    stopped.ends();
    stopped.has_logged("the change of `near0` is confirmed");
    xdpload(&["detach", NEAR]).ok();
    xdpload(&["detach", "other0"]).ok();
    assert_eq!((near(), sandbox.pins()), (None, vec![]));
}
