<?php
// SPDX-License-Identifier: Apache-2.0
// What it keeps is said by the environment: session, sqlite or nothing.
switch (getenv('VERDICT_MODE')) {
	case 'sessions':
		session_save_path(getenv('VERDICT_DIR') . '/sessions');
		session_id(md5($_GET['user'] ?? '0'));
		session_start();
		$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
		echo $_SESSION['visits'];
		break;
	case 'sqlite':
		$db = new PDO('sqlite:' . getenv('VERDICT_DIR') . '/shop.db');
		$db->exec('CREATE TABLE IF NOT EXISTS visits (at TEXT)');
		$db->exec('INSERT INTO visits VALUES (datetime())');
		echo $db->query('SELECT count(*) FROM visits')->fetchColumn();
		break;
	default:
		echo 'hello';
}
