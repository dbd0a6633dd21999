//! Tidiness: rules of the tree that no compiler holds. Each check is a function from files to
//! complaints, so that its unit tests can show it a bad sample; the tests here show it the tree.
//!
//! Start reading at [`tree`]; then one module per subject.
#![forbid(unsafe_code)]

mod data;
mod depend;
mod docs;
mod drops;
mod keep;
mod manifest;
mod monitoring;
mod rust;
mod style;
mod tree;

use tree::Tree;

/// Fails with every complaint at once.
fn clean(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn crates_depend_on_what_the_design_allows() {
    clean(depend::workspace(&Tree::load()));
}

#[test]
fn everything_locked_comes_from_one_registry_and_nothing_banned_is_there() {
    clean(depend::lock(&Tree::load()));
}

#[test]
fn pure_crates_name_nothing_of_the_machine() {
    clean(depend::purity(&Tree::load()));
}

#[test]
fn unsafe_code_is_under_bindings_alone() {
    clean(style::unsafe_code(&Tree::load()));
}

#[test]
fn files_say_first_what_they_are_for() {
    clean(style::heads(&Tree::load()));
}

#[test]
fn files_and_lines_keep_their_length() {
    clean(style::lengths(&Tree::load()));
}

#[test]
fn banned_words_and_names_are_absent() {
    clean(style::words(&Tree::load()));
}

#[test]
fn tests_wait_for_conditions_and_never_sleep() {
    clean(style::sleeps(&Tree::load()));
}

#[test]
fn every_drop_reason_is_produced_and_tested() {
    clean(drops::reasons(&Tree::load()));
}

#[test]
fn the_handbook_lists_the_drop_reasons_of_the_table() {
    clean(drops::page(&Tree::load()));
}

#[test]
fn the_handbook_lists_metrics_and_security_events_of_the_tables() {
    clean(monitoring::pages(&Tree::load()));
}

#[test]
fn the_dashboard_is_made_from_its_source() {
    clean(monitoring::dashboard(&Tree::load()));
}

#[test]
fn alarms_have_metrics_runbooks_and_cases() {
    clean(monitoring::rules(&Tree::load()));
}

#[test]
fn links_lead_somewhere_and_cited_tests_exist() {
    clean(docs::links(&Tree::load()));
}

#[test]
fn the_handbook_has_every_key_of_the_configuration_and_no_other() {
    clean(docs::configuration(&Tree::load()));
}

#[test]
fn the_handbook_has_every_problem_code_and_no_other() {
    clean(docs::problems(&Tree::load()));
}

#[test]
fn every_block_of_the_way_to_a_first_room_says_what_becomes_of_it() {
    clean(docs::classes(&Tree::load()));
}

#[test]
fn commands_in_documents_exist() {
    clean(docs::commands(&Tree::load()));
}

#[test]
fn nothing_private_and_nothing_binary_is_kept() {
    clean(keep::files(&Tree::load()));
}

#[test]
fn every_personal_field_is_on_the_page_of_data() {
    clean(data::page(&Tree::load()));
}
