-- +goose Up
-- One schema for both databases. Words in double braces are replaced by each database's own (see dialect.go).
-- Times are microseconds since 1970 in UTC.

create table instances (
    id                      {{identity}},
    domain                  varchar(255) {{bytewise}} not null unique,
    created                 bigint not null,
    updated                 bigint not null,
    orphan_since            bigint,
    open_registrations      boolean,
    email_verify            boolean,
    approval_required       boolean,
    has_captcha             boolean,
    software                varchar(50) not null,
    version                 varchar(255) not null,
    sysadmins               integer,
    moderators              integer,
    max_list_size           integer not null default 2000,
    pm_proxy                varchar(10) not null default 'NONE',
    poll_failures           integer not null default 0,
    visibility_endorsements varchar(10) not null default 'OPEN',
    visibility_censures     varchar(10) not null default 'OPEN',
    visibility_hesitations  varchar(10) not null default 'OPEN',
    lists_version           bigint not null default 0
);
create index instances_created on instances (created, id);

create table users (
    id       {{identity}},
    account  varchar(255) not null unique,
    username varchar(255) not null,
    api_key  varchar(64) not null unique,
    key_sent bigint not null,
    key_used boolean not null,
    created  bigint not null,
    updated  bigint not null
);

create table claims (
    id          {{identity}},
    user_id     bigint not null references users (id) on delete cascade,
    instance_id bigint not null references instances (id) on delete cascade,
    created     bigint not null,
    unique (user_id, instance_id)
);
create index claims_instance on claims (instance_id);

create table guarantees (
    id            {{identity}},
    guarantor_id  bigint not null references instances (id) on delete cascade,
    guaranteed_id bigint not null unique references instances (id) on delete cascade,
    created       bigint not null
);
create index guarantees_guarantor on guarantees (guarantor_id);

create table endorsements (
    id           {{identity}},
    approving_id bigint not null references instances (id) on delete cascade,
    endorsed_id  bigint not null references instances (id) on delete cascade,
    reason       varchar(255),
    created      bigint not null,
    unique (approving_id, endorsed_id)
);
create index endorsements_endorsed on endorsements (endorsed_id);

create table censures (
    id           {{identity}},
    censuring_id bigint not null references instances (id) on delete cascade,
    censured_id  bigint not null references instances (id) on delete cascade,
    reason       varchar(255),
    evidence     text,
    created      bigint not null,
    unique (censuring_id, censured_id)
);
create index censures_censured on censures (censured_id);

create table hesitations (
    id          {{identity}},
    hesitant_id bigint not null references instances (id) on delete cascade,
    dubious_id  bigint not null references instances (id) on delete cascade,
    reason      varchar(255),
    evidence    text,
    created     bigint not null,
    unique (hesitant_id, dubious_id)
);
create index hesitations_dubious on hesitations (dubious_id);

create table rebuttals (
    id        {{identity}},
    source_id bigint not null references instances (id) on delete cascade,
    target_id bigint not null references instances (id) on delete cascade,
    rebuttal  text not null,
    created   bigint not null,
    unique (source_id, target_id)
);

create table solicitations (
    id        {{identity}},
    source_id bigint not null references instances (id) on delete cascade,
    target_id bigint references instances (id) on delete cascade,
    comment   text,
    created   bigint not null,
    unique (source_id, target_id)
);
create index solicitations_target on solicitations (target_id);

create table instance_flags (
    id          {{identity}},
    instance_id bigint not null references instances (id) on delete cascade,
    flag        varchar(20) not null,
    comment     varchar(255),
    created     bigint not null,
    unique (instance_id, flag)
);

create table instance_tags (
    id          {{identity}},
    instance_id bigint not null references instances (id) on delete cascade,
    tag         varchar(100) not null,
    tag_lower   varchar(100) {{bytewise}} not null,
    created     bigint not null,
    unique (instance_id, tag_lower)
);
create index instance_tags_lower on instance_tags (tag_lower);

create table rejection_records (
    id          {{identity}},
    rejector_id bigint not null references instances (id) on delete cascade,
    rejected_id bigint not null references instances (id) on delete cascade,
    created     bigint not null,
    performed   bigint not null,
    unique (rejector_id, rejected_id)
);

create table reports (
    id              {{identity}},
    source_domain   varchar(255) not null,
    target_domain   varchar(255) not null,
    report_type     varchar(20) not null,
    report_activity varchar(20) not null,
    created         bigint not null
);
create index reports_source on reports (source_domain, created);
create index reports_created on reports (created, id);

-- +goose Down
drop table reports;
drop table rejection_records;
drop table instance_tags;
drop table instance_flags;
drop table solicitations;
drop table rebuttals;
drop table hesitations;
drop table censures;
drop table endorsements;
drop table guarantees;
drop table claims;
drop table users;
drop table instances;
