use super::*;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::{
    CallMatch, Failover, Limits, LoadBalancing, Tier, ToolOverride, ToolPolicy, WeightedBackend,
};
use bytes::Bytes;
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
        load_balancing: LoadBalancing::default(),
        timeouts: None,
        fallback: None,
        required: false,
    }
}

/// What a server lists, by the JSON of its items, and says.
fn offer(said: Value, lists: &[(ListKind, &str)]) -> Offer {
    let Value::Object(capabilities) = said else { panic!("capabilities are an object") };
    let mut offer = Offer { capabilities, ..Offer::default() };
    for (kind, items) in lists {
        let answer = Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"{}":[{items}]}}}}"#, kind.member()));
        let mut list = ItemList::default();
        list.add_page(*kind, &answer, &Limits::default()).unwrap();
        offer.lists[kind.index()] = Arc::new(list);
    }
    offer
}

fn tools(names: &[&str]) -> Offer {
    let items: Vec<_> = names.iter().map(|name| format!(r#"{{ "name" : "{name}" , "n" : 1.0 }}"#)).collect();
    offer(json!({"tools": {}}), &[(ListKind::Tools, &items.join(","))])
}

fn build(servers: Vec<(&Server, Offer)>) -> View {
    let (specs, offers): (Vec<_>, Vec<_>) =
        servers.into_iter().map(|(server, offer)| (server, Some(Arc::new(offer)))).unzip();
    View::build(&specs, &offers)
}

fn names(view: &View, kind: ListKind) -> Vec<String> {
    let page: Value = serde_json::from_str(&view.page(kind, None, Era::Legacy).unwrap()).unwrap();
    let items = page[kind.member()].as_array().unwrap().iter();
    items.map(|item| item[kind.key()].as_str().unwrap().to_owned()).collect()
}

#[test]
fn tools_are_chosen_renamed_and_prefixed_and_keep_their_other_bytes() {
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
    let view = build(vec![(&search, tools(&["find_all", "find_secret", "get", "put", "odd name"]))]);
    assert_eq!(
        view.page(ListKind::Tools, None, Era::Legacy).unwrap(),
        r#"{"tools":[{ "name" : "s_find_all" , "n" : 1.0 },{ "name" : "s_fetch" , "n" : 1.0,"description":"a \"better\" one" }]}"#
    );
    assert_eq!(view.tool("s_fetch"), Some(Target { server: 0, own_name: "get" }));
    assert_eq!(view.tool("get"), None);
    let [conflict] = view.conflicts() else { panic!("{:?}", view.conflicts()) };
    assert!(conflict.key == "odd name" && conflict.reason.contains("not a valid name"), "{conflict:?}");
}

#[test]
fn a_name_that_nobody_changes_passes_whatever_it_is() {
    let view = build(vec![(&server("a"), tools(&["odd name/with slash"]))]);
    assert_eq!(names(&view, ListKind::Tools), ["odd name/with slash"]);
}

#[test]
fn the_earlier_server_keeps_a_name() {
    let (a, b, c) = (server("a"), server("b"), Server { prefix: Some("x".into()), ..server("c") });
    let view = build(vec![(&a, tools(&["t"])), (&b, tools(&["t", "u", "u"])), (&c, tools(&["t"]))]);
    assert_eq!(names(&view, ListKind::Tools), ["t", "u", "xt"]);
    assert_eq!(view.tool("t"), Some(Target { server: 0, own_name: "t" }));
    assert_eq!(view.tool("xt"), Some(Target { server: 2, own_name: "t" }));
    let reasons: Vec<_> = view.conflicts().iter().map(|found| (found.server, found.reason.as_str())).collect();
    assert_eq!(reasons, [(1, "an earlier server of the route has it"), (1, "listed twice")]);
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
    let offered = offer(
        json!({}),
        &[
            (ListKind::Tools, r#"{"name":"t1"},{"name":"u1"}"#),
            (ListKind::Prompts, r#"{"name":"p"}"#),
            (ListKind::Resources, r#"{"uri":"r:1"}"#),
        ],
    );
    let view = build(vec![(&a, offered)]);
    assert_eq!(names(&view, ListKind::Tools), ["a_t1"]);
    assert_eq!(names(&view, ListKind::Prompts), ["a_p"]);
    assert!(names(&view, ListKind::Resources).is_empty());
    assert!(view.conflicts().is_empty(), "what the route does not want is no conflict");
}

#[test]
fn a_glob_that_does_not_compile_hides_rather_than_shows() {
    for (include, exclude) in [("[", "x"), ("*", "[")] {
        let policy = ToolPolicy { include: vec![include.into()], exclude: vec![exclude.into()], ..Default::default() };
        let a = Server { tools: policy, ..server("a") };
        assert!(names(&build(vec![(&a, tools(&["t"]))]), ListKind::Tools).is_empty(), "{include} {exclude}");
    }
}

#[test]
fn a_uri_leads_to_who_lists_it_then_to_templates_then_to_its_scheme() {
    let (a, b, c) = (Server { prefix: Some("p_".into()), ..server("a") }, server("b"), server("c"));
    let first = offer(
        json!({"resources": {}}),
        &[
            (ListKind::Resources, r#"{"uri":"file:///x"}"#),
            (ListKind::Templates, r#"{"uriTemplate":"file:///{id}"},{"uriTemplate":"bad{"}"#),
        ],
    );
    let second = offer(
        json!({"resources": {}}),
        &[
            (ListKind::Resources, r#"{"uri":"file:///x"},{"uri":"db://y"}"#),
            (ListKind::Templates, r#"{"uriTemplate":"file:///{+path}"}"#),
        ],
    );
    let view = build(vec![(&a, first), (&b, second), (&c, offer(json!({"tools": {}}), &[]))]);
    assert_eq!(names(&view, ListKind::Resources), ["file:///x", "db://y"], "URIs take no prefix");
    assert_eq!(view.servers_for_uri("file:///x"), [0], "the earlier one keeps it");
    assert_eq!(view.servers_for_uri("file:///z"), [0, 1]);
    assert_eq!(view.servers_for_uri("file:///z/z"), [1]);
    assert_eq!(view.servers_for_uri("db://other"), [1], "by its scheme");
    assert_eq!(view.servers_for_uri("strange:x"), [0, 1], "all that have resources");
    assert_eq!(view.servers_for_template("bad{"), [0], "listed all the same");
}

#[test]
fn capabilities_are_united_and_instructions_introduced() {
    let (a, b) = (server("a"), server("b"));
    let said = |capabilities: Value, instructions: &str| Offer {
        instructions: Some(instructions.into()),
        ..offer(capabilities, &[])
    };
    let first = said(json!({"tools": {"listChanged": false}, "extensions": {"x": {"v": 1}}, "odd": 7}), "use a");
    let second = said(json!({"resources": {"subscribe": true}, "extensions": {"x": {"v": 2}, "y": {}}}), "use b");
    let alone = build(vec![(&a, first.clone())]);
    assert_eq!(alone.instructions.as_deref(), Some("use a"));
    let both = build(vec![(&a, first), (&b, second)]);
    assert_eq!(both.instructions.as_deref(), Some("a:\nuse a\n\nb:\nuse b"));
    let expected = json!({
        "tools": {"listChanged": true}, "extensions": {"x": {"v": 1}, "y": {}}, "odd": 7,
        "resources": {"subscribe": true, "listChanged": true},
    });
    assert_eq!(Value::Object(both.capabilities), expected);
}

#[test]
fn a_missing_server_leaves_every_kind_open() {
    let (a, b) = (server("a"), server("b"));
    let view = View::build(&[&a, &b], &[None, Some(Arc::new(tools(&["t"])))]);
    assert_eq!(view.tool("t"), Some(Target { server: 1, own_name: "t" }));
    for kind in ["tools", "prompts", "resources"] {
        assert_eq!(view.capabilities[kind]["listChanged"], true, "{kind}");
    }
    let page: Value = serde_json::from_str(&view.page(ListKind::Tools, None, Era::Modern).unwrap()).unwrap();
    assert_eq!((&page["resultType"], &page["ttlMs"]), (&json!("complete"), &json!(0)), "not to be kept");
}

#[test]
fn headers_that_mirror_arguments_are_known_by_the_visible_name() {
    let listed = r#"{"name":"t","inputSchema":{"properties":{"r":{"type":"string","x-mcp-header":"R"}}}},{"name":"u"}"#;
    let server = Server { prefix: Some("p-".into()), ..server("a") };
    let view = build(vec![(&server, offer(json!({}), &[(ListKind::Tools, listed)]))]);
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
        let view = build(made.iter().map(|(server, offer)| (server, offer.clone())).collect());
        let listed = names(&view, ListKind::Tools);
        for name in &listed {
            let target = view.tool(name).unwrap();
            let (prefix, own) = &servers[target.server];
            prop_assert_eq!(format!("{}{}", prefix.as_deref().unwrap_or(""), target.own_name), name.as_str());
            prop_assert!(own.iter().any(|own| own == target.own_name));
        }
        let all: usize = servers.iter().map(|(_, names)| names.len()).sum();
        prop_assert_eq!(listed.len() + view.conflicts().len(), all, "shown or reported");
        let counted: usize = (0..servers.len()).map(|server| view.count(server, ListKind::Tools)).sum();
        prop_assert_eq!(counted, listed.len());
    }
}
