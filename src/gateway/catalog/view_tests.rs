use super::*;
use crate::gateway::catalog::item::Gather;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::{CallMatch, Failover, Limits, Tier, ToolOverride, ToolPolicy, WeightedBackend};
use proptest::prelude::*;

fn server(name: &str) -> Server {
    let backends = vec![WeightedBackend { backend: ObjectId::new("ns", name), weight: 1 }];
    Server {
        name: name.into(),
        prefix: None,
        matches: Vec::new(),
        tools: ToolPolicy::default(),
        tiers: vec![Tier { priority: 0, backends }],
        failover: Failover::default(),
        required: false,
    }
}

fn lists(texts: &[(ListKind, String)]) -> Listings {
    let mut lists = Listings::default();
    for (kind, items) in texts {
        let mut gather = Gather::new(*kind, &Limits::default());
        gather.add(&Bytes::from(format!(r#"{{"{}":[{items}]}}"#, kind.member()))).unwrap();
        lists.set(*kind, gather.finish());
    }
    lists
}

fn tools(names: &[&str]) -> Listings {
    let items: Vec<_> = names.iter().map(|name| format!(r#"{{ "name" : "{name}" , "n" : 1.0 }}"#)).collect();
    lists(&[(ListKind::Tools, items.join(","))])
}

fn offer<'a>(server: &'a Server, lists: &'a Listings) -> ServerOffer<'a> {
    ServerOffer { server, lists, capabilities: None, instructions: None, server_info: None }
}

fn build(offers: &[(&Server, &Listings)]) -> View {
    let offers: Vec<_> = offers.iter().map(|(server, lists)| offer(server, lists)).collect();
    View::build(&offers, r#"{"name":"gateway","version":"1"}"#)
}

fn names(view: &View, kind: ListKind) -> Vec<String> {
    let page: serde_json::Value = serde_json::from_slice(&view.page(kind, None, Era::Legacy).unwrap()).unwrap();
    let items = page[kind.member()].as_array().unwrap().iter();
    items.map(|item| item[kind.key()].as_str().unwrap().to_owned()).collect()
}

#[test]
fn tools_are_chosen_renamed_and_prefixed() {
    let mut search = server("search");
    search.prefix = Some("s_".into());
    search.tools = ToolPolicy {
        include: vec!["find*".into(), "get".into(), "odd name".into()],
        exclude: vec!["*_secret".into()],
        overrides: vec![ToolOverride {
            name: "get".into(),
            rename: Some("fetch".into()),
            description: Some("a \"better\" one".into()),
        }],
    };
    let offered = tools(&["find_all", "find_secret", "get", "put", "odd name"]);
    let view = build(&[(&search, &offered)]);
    assert_eq!(names(&view, ListKind::Tools), ["s_find_all", "s_fetch"]);
    assert_eq!(view.tool("s_fetch"), Some(Target { server: 0, own_name: "get" }));
    assert_eq!(view.tool("get"), None);
    let page = view.page(ListKind::Tools, None, Era::Legacy).unwrap();
    assert_eq!(
        page,
        r#"{"tools":[{ "name" : "s_find_all" , "n" : 1.0 },{ "name" : "s_fetch" , "n" : 1.0,"description":"a \"better\" one" }]}"#
    );
    let unfit = Conflict {
        kind: ListKind::Tools,
        server: "search".into(),
        name: "s_odd name".into(),
        reason: Reason::UnfitName,
    };
    assert_eq!(view.conflicts(), [unfit]);
}

#[test]
fn names_that_nobody_changes_pass_through_as_they_are() {
    let offered = tools(&["odd name/with slash"]);
    let view = build(&[(&server("a"), &offered)]);
    assert_eq!(names(&view, ListKind::Tools), ["odd name/with slash"]);
    let raw = &offered.get(ListKind::Tools).items[0].raw;
    assert_eq!(edited(&offered.get(ListKind::Tools).items[0], "odd name/with slash", None).as_ptr(), raw.as_ptr());
}

#[test]
fn the_earlier_server_keeps_a_name() {
    let (a, b, c) = (server("a"), server("b"), Server { prefix: Some("x".into()), ..server("c") });
    let offered = tools(&["t", "u", "t"]);
    let view = build(&[(&a, &tools(&["t"])), (&b, &offered), (&c, &tools(&["t"]))]);
    assert_eq!(names(&view, ListKind::Tools), ["t", "u", "xt"]);
    assert_eq!(view.tool("t").unwrap().server, 0);
    assert_eq!(view.tool("xt"), Some(Target { server: 2, own_name: "t" }));
    assert_eq!([0, 1, 2].map(|server| view.conflict_count(server)), [0, 2, 0]);
    assert_eq!(view.conflicts()[0].reason, Reason::Taken { by: "a".into() });
}

#[test]
fn call_matches_choose_by_the_names_clients_see() {
    let only = |methods: &[&str], tools: &[&str]| CallMatch {
        methods: methods.iter().map(|&text| text.into()).collect(),
        tools: tools.iter().map(|&text| text.into()).collect(),
    };
    let mut a = server("a");
    a.prefix = Some("a_".into());
    a.matches = vec![only(&["tools/call"], &["a_t*"]), only(&["prompts/get"], &[])];
    let offered = lists(&[
        (ListKind::Tools, r#"{"name":"t1"},{"name":"u1"}"#.into()),
        (ListKind::Prompts, r#"{"name":"p"}"#.into()),
        (ListKind::Resources, r#"{"uri":"r:1"}"#.into()),
    ]);
    let capabilities = r#"{"tools":{},"prompts":{},"resources":{},"logging":{}}"#;
    let view = View::build(&[ServerOffer { capabilities: Some(capabilities), ..offer(&a, &offered) }], "{}");
    assert_eq!(names(&view, ListKind::Tools), ["a_t1"]);
    assert_eq!(names(&view, ListKind::Prompts), ["a_p"]);
    assert!(names(&view, ListKind::Resources).is_empty());
    assert_eq!(view.capabilities(), r#"{"tools":{},"prompts":{},"logging":{}}"#);
    assert!(view.takes(0, "prompts/get") && !view.takes(0, "resources/read") && !view.takes(1, "prompts/get"));
    assert!(view.conflicts().is_empty(), "what the route does not want is no conflict");
}

#[test]
fn a_pattern_that_does_not_compile_hides_rather_than_shows() {
    for (include, exclude) in [("[", "x"), ("*", "[")] {
        let tools_policy =
            ToolPolicy { include: vec![include.into()], exclude: vec![exclude.into()], ..Default::default() };
        let a = Server { tools: tools_policy, ..server("a") };
        assert!(names(&build(&[(&a, &tools(&["t"]))]), ListKind::Tools).is_empty());
    }
}

#[test]
fn resources_keep_their_uris_and_templates_are_matched_in_order() {
    let (a, b) = (Server { prefix: Some("p_".into()), ..server("a") }, server("b"));
    let first = lists(&[
        (ListKind::Resources, r#"{"uri":"file:///x","name":"x"}"#.into()),
        (ListKind::Templates, r#"{"uriTemplate":"file:///{id}"},{"uriTemplate":"bad{"}"#.into()),
    ]);
    let second = lists(&[
        (ListKind::Resources, r#"{"uri":"file:///x"},{"uri":"db://y"}"#.into()),
        (ListKind::Templates, r#"{"uriTemplate":"file:///{+path}"}"#.into()),
    ]);
    let view = build(&[(&a, &first), (&b, &second)]);
    assert_eq!(names(&view, ListKind::Resources), ["file:///x", "db://y"]);
    assert_eq!(view.resource("db://y"), Some(Target { server: 1, own_name: "db://y" }));
    assert_eq!(view.resource("file:///z"), None);
    assert_eq!(view.template_for("file:///z").unwrap().server, 0);
    assert_eq!(view.template_for("file:///z/z").unwrap().own_name, "file:///{+path}");
    assert_eq!(view.template_for("bad{"), None);
    assert_eq!(view.template("bad{").unwrap().server, 0, "listed all the same");
    assert_eq!(view.conflicts().len(), 1);
}

#[test]
fn modern_lists_say_how_long_they_may_be_kept() {
    let listing = |ttl: &str| {
        let mut gather = Gather::new(ListKind::Tools, &Limits::default());
        gather.add(&Bytes::from(format!(r#"{{"tools":[{{"name":"t{}"}}]{ttl}}}"#, ttl.len()))).unwrap();
        let mut lists = Listings::default();
        lists.set(ListKind::Tools, gather.finish());
        lists
    };
    let caching = |lists: &[Listings]| {
        let servers: Vec<_> = (0..lists.len()).map(|n| server(&n.to_string())).collect();
        let view = build(&servers.iter().zip(lists).collect::<Vec<_>>());
        let page: serde_json::Value =
            serde_json::from_slice(&view.page(ListKind::Tools, None, Era::Modern).unwrap()).unwrap();
        assert_eq!(page["resultType"], "complete");
        (page["ttlMs"].as_u64().unwrap(), page["cacheScope"].as_str().unwrap().to_owned())
    };
    let public = listing(r#","ttlMs":50,"cacheScope":"public""#);
    let private = listing(r#","ttlMs":900,"cacheScope":"private""#);
    assert_eq!(caching(&[public.clone(), Listings::default()]), (50, "public".into()), "an empty list has no say");
    assert_eq!(caching(&[private, public.clone()]), (50, "private".into()));
    assert_eq!(caching(&[public, listing("")]), (0, "private".into()), "a legacy server names nothing");
}

#[test]
fn one_server_speaks_for_itself_and_several_are_introduced() {
    let (a, b, none) = (server("a"), server("b"), Listings::default());
    let first = ServerOffer {
        capabilities: Some(r#"{ "tools" : {} }"#),
        instructions: Some("use a"),
        server_info: Some(r#"{"name":"A"}"#),
        ..offer(&a, &none)
    };
    let second = ServerOffer { capabilities: Some(r#"{"x":1}"#), instructions: Some("use b"), ..offer(&b, &none) };
    let alone = View::build(&[first], r#"{"name":"G"}"#);
    assert_eq!((alone.capabilities(), alone.instructions()), (r#"{ "tools" : {} }"#, Some("use a")));
    assert_eq!(alone.server_info(), r#"{"name":"A"}"#);
    let both = View::build(&[first, second], r#"{"name":"G"}"#);
    assert_eq!(both.capabilities(), r#"{"tools":{},"x":1}"#);
    assert_eq!(both.instructions(), Some("# a\n\nuse a\n\n# b\n\nuse b"));
    assert_eq!(both.server_info(), r#"{"name":"G"}"#);
}

#[test]
fn headers_that_mirror_arguments_are_known_by_the_visible_name() {
    let offered = lists(&[(
        ListKind::Tools,
        r#"{"name":"t","inputSchema":{"properties":{"r":{"type":"string","x-mcp-header":"R"}}}},{"name":"u"}"#.into(),
    )]);
    let view = build(&[(&Server { prefix: Some("p-".into()), ..server("a") }, &offered)]);
    assert_eq!(view.param_headers("p-t").unwrap().iter().next().unwrap().header, "mcp-param-r");
    assert!(view.param_headers("p-u").is_none() && view.param_headers("t").is_none());
}

proptest! {
    #[test]
    fn every_listed_name_leads_to_its_server(
        servers in prop::collection::vec((prop::option::of("[ab]_"), prop::collection::vec("[a-c]{1,2}", 0..5)), 0..4),
    ) {
        let made: Vec<_> = servers.iter().enumerate().map(|(index, (prefix, names))| {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            (Server { prefix: prefix.clone(), ..server(&index.to_string()) }, tools(&names))
        }).collect();
        let view = build(&made.iter().map(|(server, lists)| (server, lists)).collect::<Vec<_>>());
        let listed = names(&view, ListKind::Tools);
        for name in &listed {
            let target = view.tool(name).unwrap();
            let (prefix, own) = &servers[target.server];
            prop_assert_eq!(format!("{}{}", prefix.as_deref().unwrap_or(""), target.own_name), name.as_str());
            prop_assert!(own.iter().any(|own| own == target.own_name));
        }
        let dropped: usize = (0..servers.len()).map(|server| view.conflict_count(server)).sum();
        prop_assert_eq!(listed.len() + dropped, servers.iter().map(|(_, names)| names.len()).sum::<usize>());
        prop_assert_eq!(listed.len(), view.count(ListKind::Tools));
    }
}
