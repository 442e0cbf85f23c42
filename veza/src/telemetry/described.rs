//! What each metric counts, for whoever reads `/metrics`: every one that a crate of ours counts is
//! here, which `veza/tests/tidy` checks.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Tells the recorder what all metrics are.
pub fn describe() {
    counters();
    gauges();
    histograms();
}

fn counters() {
    for (name, words) in [
        ("veza_command_conflicts_total", "Appends that met another's and were decided anew"),
        ("veza_commands_total", "Commands, by what came of them"),
        ("veza_event_store_events_appended_total", "Events made durable by the embedded store"),
        ("veza_event_store_events_reclaimed_total", "Events that scavenging has reclaimed"),
        ("veza_event_store_given_back_bytes_total", "Bytes that scavenging gave back to the disk"),
        ("veza_event_store_indexes_remade_total", "Damaged indexes that reads met and made again"),
        ("veza_event_store_poisoned_total", "Failures after which the store wrote no more"),
        ("veza_event_store_scrubbed_bytes_total", "Bytes of segments that scrubs have read"),
        ("veza_graphql_answers_total", "Answers to GraphQL requests, by whether they had errors"),
        ("veza_http_connections_refused_total", "Connections of clients that had their share"),
        ("veza_http_requests_total", "HTTP requests, by route and status"),
        ("veza_media_transcodes_total", "Masters transcoded, by what came of it"),
        ("veza_media_upload_bytes_total", "Bytes of uploads that were stored"),
        ("veza_projection_errors_total", "Sessions of a projection that failed and began again"),
        ("veza_projection_events_total", "Events that a projection has taken"),
        (
            "veza_projection_foreign_events_total",
            "Events of others in the platform's streams that a projection passed over",
        ),
        ("veza_projection_parked_keys_total", "Keys of which a projection parked an event"),
        ("veza_rate_limited_total", "Requests refused because they came too fast"),
        ("veza_saga_runs_parked_total", "Runs of sagas left alone, as their streams can't be read"),
        ("veza_saga_streams_foreign_total", "Streams named as runs of sagas are that are none"),
        ("veza_saga_steps_total", "Steps tried by sagas: forward or back, and what came of it"),
    ] {
        describe_counter!(name, words);
    }
}

fn gauges() {
    for (name, words) in [
        ("veza_disk_free_bytes", "Bytes free on the fullest disk, as users without root see it"),
        ("veza_event_store_rotten_segments", "Segments that scrubs and reads found damaged"),
        ("veza_graphql_sockets", "WebSockets that are open"),
        ("veza_log_head_position", "The position of the log's last event"),
        ("veza_model_position", "The position up to which a model has the log"),
        ("veza_parked_events", "Events that a model could not take, and those that wait for them"),
        ("veza_part_up", "1 while a part serves, else 0"),
        ("veza_projection_position", "The position that a projection in this process has reached"),
        ("veza_projection_running", "1 while a projection runs in this process, else 0"),
        ("veza_saga_runs_paused", "Runs of sagas that wait for an operator"),
        ("veza_saga_runs_waiting_outside", "Runs of sagas that wait for somebody who is away"),
        ("veza_saga_runs_unfinished", "Runs of sagas that are not over"),
        (
            "veza_people_without_account",
            "People who have proved an address by the log, and have no account",
        ),
        ("veza_accounts_not_in_log", "Confirmed accounts of nobody in the log"),
        ("veza_sagas_running", "1 while this process runs the sagas, else 0"),
        (
            "veza_unreadable_personal_fields",
            "Personal fields that this process met and no key opens, 1000 at most",
        ),
    ] {
        describe_gauge!(name, words);
    }
}

fn histograms() {
    for (name, words) in [
        ("veza_event_store_sync_seconds", "How long the embedded store's disk took to sync"),
        ("veza_graphql_query_seconds", "How long queries took, waiting for models included"),
        ("veza_http_request_seconds", "How long HTTP requests took until their answer began"),
        ("veza_media_transcode_seconds", "How long masters took to be transcoded"),
        ("veza_projection_batch_seconds", "How long a batch took to be applied and committed"),
    ] {
        describe_histogram!(name, words);
    }
}
