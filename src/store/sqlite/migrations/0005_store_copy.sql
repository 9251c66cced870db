CREATE TABLE `copy_change` (
	`seq` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`table_name` text NOT NULL,
	`key` text NOT NULL
) STRICT;
--> statement-breakpoint
CREATE TABLE `copy_state` (
	`id` integer PRIMARY KEY NOT NULL,
	`state` text NOT NULL,
	`copy_id` text NOT NULL,
	`store_id` text NOT NULL,
	`other` text NOT NULL,
	`at` integer NOT NULL,
	`event_id` text,
	CONSTRAINT "copy_state_single" CHECK("copy_state"."id" = 1),
	CONSTRAINT "copy_state_state" CHECK("copy_state"."state" IN ('leaving', 'abandoned', 'left', 'arriving', 'filling', 'arrived'))
) STRICT;
