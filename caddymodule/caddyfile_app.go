package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("gatehouse", parseApp)
}

// parseApp reads the global option.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("option 'gatehouse' is given twice")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	value, err := json.Marshal(app)
	if err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "gatehouse", Value: value}, nil
}

// UnmarshalCaddyfile reads the global option gatehouse:
//
//	gatehouse {
//		base_domain        <domain>
//		data               <directory>
//		secret             <secret> [<older secrets>...]
//		admin              <email> <password>
//		client             <id> <secret>
//		control_plane      <id> {
//			hosts    <hosts...>
//			database <name>
//		}
//		reserved           <labels...> | off
//		reserved_serve     control_plane | not_found
//		labels {
//			<label> <tenant>
//		}
//		resolve            <resolvers...> | {
//			<resolver> ...
//		}
//		database           <name> <kind> ...
//		open_databases     <number> {
//			<database name> <number>
//		}
//		keys               <algorithms...>
//		sync {
//			resource_servers [on|off]
//			roles            [on|off]
//			connections      [on|off]
//			exclude          <expression>
//			on_conflict {
//				resource_servers refuse | adopt
//				roles            refuse | adopt | rename
//				connections      refuse | adopt | rename
//			}
//			on_unsync        remove | detach
//			every            <duration>
//			workers          <number>
//		}
//		inherit {
//			mode          all | selected | none
//			keys          <settings...>
//			excluded_keys <settings...>
//			transform     <setting> <expression>
//		}
//		logs {
//			keep           <duration>
//			machine_tokens [on|off]
//		}
//		rate_limit {
//			tenant     <requests> <duration> | off
//			client     <requests> <duration> | off
//			address    <requests> <duration> | off
//			management <requests> <duration> | off
//		}
//		backups            <directory> {
//			keep <number>
//		}
//		access {
//			default_roles       <roles...> | off
//			default_permissions <scopes...>
//			create_api_explorer [on|off]
//		}
//		hook               <url> {
//			events        <types...>
//			secret        <secret>
//			allow_private
//		}
//		hook               <module> ...
//		email              smtp <host[:port]> | file <directory> | log {
//			from          <address>
//			login         <user> <password>
//			security      starttls | tls | none
//			trust         <file>
//			allow_private
//		}
//		connections {
//			shared_callback [on|off]
//		}
//		management_aliases <audiences...>
//		private_networks   <networks...>
//		port               <port>
//	}
//
// `sync off`, `inherit off`, `logs off` and `rate_limit off` turn the feature off. Only database,
// hook, exclude and transform may be repeated.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // gatehouse
	if d.NextArg() {
		return d.Errf("unexpected '%s' after 'gatehouse'; its options stand in a block", d.Val())
	}
	return words{
		"base_domain": text(&a.BaseDomain),
		"data":        text(&a.Data),
		"secret":      list(&a.Secret),
		"admin": func(d *caddyfile.Dispenser) error {
			a.Admin = new(Admin)
			return texts(&a.Admin.Email, &a.Admin.Password)(d)
		},
		"client": func(d *caddyfile.Dispenser) error {
			a.Client = new(Client)
			return texts(&a.Client.ID, &a.Client.Secret)(d)
		},
		"control_plane":      nested(&a.ControlPlane),
		"reserved":           listOrOff(&a.Reserved),
		"reserved_serve":     text(&a.ReservedServe),
		"labels":             a.parseLabels,
		"resolve":            a.parseResolve,
		"database":           a.parseDatabase,
		"open_databases":     a.parseOpenDatabases,
		"keys":               list(&a.Keys),
		"sync":               nested(&a.Sync),
		"inherit":            nested(&a.Inherit),
		"logs":               nested(&a.Logs),
		"rate_limit":         nested(&a.RateLimit),
		"backups":            nested(&a.Backups),
		"access":             nested(&a.Access),
		"hook":               a.parseHook,
		"email":              nested(&a.Email),
		"connections":        nested(&a.Connections),
		"management_aliases": list(&a.ManagementAliases),
		"private_networks":   list(&a.PrivateNetworks),
		"port":               number(&a.Port, 65535),
	}.block(d, "gatehouse", "database", "hook")
}

// nested reads a struct that parses itself.
func nested[T any, P interface {
	*T
	caddyfile.Unmarshaler
}](into **T) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		*into = new(T)
		return P(*into).UnmarshalCaddyfile(d)
	}
}

// listOrOff reads one argument or more, or "off" for a list of none.
func listOrOff(into *[]string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		err := list(into)(d)
		if len(*into) == 1 && (*into)[0] == "off" {
			*into = []string{}
		}
		return err
	}
}

func (a *App) parseLabels(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected '%s' after 'labels'; each label stands in a line of its block", d.Val())
	}
	a.Labels = make(map[string]string)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		label, tenant := d.Val(), ""
		if _, twice := a.Labels[label]; twice {
			return d.Errf("label '%s' is given twice", label)
		}
		if err := text(&tenant)(d); err != nil {
			return err
		}
		a.Labels[label] = tenant
	}
	return nil
}

func (a *App) parseOpenDatabases(d *caddyfile.Dispenser) error {
	const most = 1_000_000
	if err := number(&a.OpenDatabases, most)(d); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name, n := d.Val(), 0
		if _, twice := a.OpenDatabasesIn[name]; twice {
			return d.Errf("'open_databases' names '%s' twice", name)
		}
		if err := number(&n, most)(d); err != nil {
			return err
		}
		if a.OpenDatabasesIn == nil {
			a.OpenDatabasesIn = make(map[string]int)
		}
		a.OpenDatabasesIn[name] = n
	}
	return nil
}

func (a *App) parseDatabase(d *caddyfile.Dispenser) error {
	p := new(Database)
	if err := p.UnmarshalCaddyfile(d); err != nil {
		return err
	}
	for _, other := range a.Database {
		if other.Name == p.Name {
			return d.Errf("database '%s' is given twice", p.Name)
		}
	}
	a.Database = append(a.Database, p)
	return nil
}

// UnmarshalCaddyfile reads
//
//	control_plane <id> {
//		hosts    <hosts...>
//		database <name>
//	}
func (c *ControlPlane) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := text(&c.ID)(d); err != nil {
		return err
	}
	return words{"hosts": list(&c.Hosts), "database": text(&c.Database)}.block(d, "control_plane")
}

// UnmarshalCaddyfile reads
//
//	database <name> <kind> ...
//
// What stands behind the kind is read by the module gatehouse.databases.<kind>.
func (p *Database) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if !d.Args(&p.Name) || !d.NextArg() {
		return d.Err("'database' takes a name and a kind, for instance: database main sqlite /var/lib/gatehouse")
	}
	kind := d.Val()
	module, err := caddyfile.UnmarshalModule(d, databaseNamespace+"."+kind)
	if err != nil {
		return err
	}
	if _, ok := module.(DatabaseModule); !ok {
		return d.Errf("module %s.%s is no database", databaseNamespace, kind)
	}
	p.Raw = caddyconfig.JSONModuleObject(module, "kind", kind, nil)
	return nil
}

// UnmarshalCaddyfile reads
//
//	sync {
//		resource_servers [on|off]
//		roles            [on|off]
//		connections      [on|off]
//		exclude          <expression>
//		on_conflict { ... }
//		on_unsync        remove | detach
//		every            <duration>
//		workers          <number>
//	}
//
// or `sync off`.
func (s *Sync) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if off, err := isOff(d); err != nil {
		return err
	} else if off {
		no := false
		s.ResourceServers, s.Roles, s.Connections = &no, &no, &no
		return noBlock(d)
	}
	return words{
		"resource_servers": toggle(&s.ResourceServers),
		"roles":            toggle(&s.Roles),
		"connections":      toggle(&s.Connections),
		"exclude":          s.parseExclude,
		"on_conflict":      s.parseOnConflict,
		"on_unsync":        text(&s.OnUnsync),
		"every":            duration(&s.Every),
		"workers":          number(&s.Workers, 1024),
	}.block(d, "sync", "exclude")
}

// UnmarshalCaddyfile reads
//
//	inherit {
//		mode          all | selected | none
//		keys          <settings...>
//		excluded_keys <settings...>
//		transform     <setting> <expression>
//	}
//
// or `inherit off`.
func (i *Inherit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if off, err := isOff(d); err != nil {
		return err
	} else if off {
		i.Mode = "none"
		return noBlock(d)
	}
	return words{
		"mode":          text(&i.Mode),
		"keys":          list(&i.Keys),
		"excluded_keys": list(&i.ExcludedKeys),
		"transform":     i.parseTransform,
	}.block(d, "inherit", "transform")
}

// UnmarshalCaddyfile reads
//
//	logs {
//		keep           <duration>
//		machine_tokens [on|off]
//	}
//
// or `logs off`.
func (l *Logs) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	off, err := isOff(d)
	if err != nil {
		return err
	}
	if off {
		l.Off = true
		return noBlock(d)
	}
	return words{
		"keep":           duration(&l.Keep),
		"machine_tokens": toggle(&l.MachineTokens),
	}.block(d, "logs")
}

// UnmarshalCaddyfile reads
//
//	backups <directory> {
//		keep <number>
//	}
func (b *Backups) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := text(&b.Dir)(d); err != nil {
		return err
	}
	return words{"keep": number(&b.Keep, 1_000_000)}.block(d, "backups")
}

// UnmarshalCaddyfile reads
//
//	access {
//		default_roles       <roles...> | off
//		default_permissions <scopes...>
//		create_api_explorer [on|off]
//	}
func (a *Access) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected '%s' after 'access'", d.Val())
	}
	return words{
		"default_roles":       listOrOff(&a.DefaultRoles),
		"default_permissions": list(&a.DefaultPermissions),
		"create_api_explorer": toggle(&a.CreateAPIExplorer),
	}.block(d, "access")
}

// isOff reads nothing, or the one argument "off".
func isOff(d *caddyfile.Dispenser) (bool, error) {
	word := d.Val()
	switch args := d.RemainingArgs(); {
	case len(args) == 0:
		return false, nil
	case len(args) == 1 && args[0] == "off":
		return true, nil
	default:
		return false, d.Errf("'%s' takes a block, or off; not '%s'", word, args[0])
	}
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*ControlPlane)(nil)
	_ caddyfile.Unmarshaler = (*Database)(nil)
	_ caddyfile.Unmarshaler = (*Sync)(nil)
	_ caddyfile.Unmarshaler = (*Inherit)(nil)
	_ caddyfile.Unmarshaler = (*Logs)(nil)
	_ caddyfile.Unmarshaler = (*Backups)(nil)
	_ caddyfile.Unmarshaler = (*Access)(nil)
)
