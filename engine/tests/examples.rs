//! The examples do what they say.

#[path = "../examples/alarms.rs"]
#[allow(dead_code, reason = "its main is not what is tested")]
mod alarms;
#[path = "../examples/channel.rs"]
#[allow(dead_code, reason = "its main is not what is tested")]
mod channel;
#[path = "../examples/resume.rs"]
#[allow(dead_code, reason = "its main is not what is tested")]
mod resume;

#[test]
fn alarms_find_who_is_on_duty() {
    // Six warm spells of three devices, one of which nobody looks after.
    assert_eq!(alarms::run().unwrap(), (12, 6));
}

#[test]
fn records_rise() {
    let records = channel::run().unwrap();
    for device in ["sensor-0", "sensor-1", "sensor-2"] {
        let own: Vec<_> = records.iter().filter(|r| r.device == device).collect();
        assert!(own.len() > 1, "{device}: {records:?}");
        assert!(own.windows(2).all(|w| w[0].celsius < w[1].celsius && w[0].after < w[1].after), "{own:?}");
    }
}

#[test]
fn counts_go_on_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let first = resume::run(dir.path(), &b"to be or not to be\n"[..]).unwrap();
    assert_eq!(first["to"], 2);
    let second = resume::run(dir.path(), &b"To sleep\n"[..]).unwrap();
    assert_eq!((second["to"], second["sleep"]), (3, 1));
}
